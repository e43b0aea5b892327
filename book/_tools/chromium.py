"""The Chromium of this machine, for still pictures of explorers and for the tests of the site."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "google-chrome", "chrome", "chromium-browser")
PATH = next(filter(None, map(shutil.which, NAMES)), None)
ADVICE = "no Chromium is installed (Debian: apt-get install chromium; elsewhere install Google Chrome)"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@contextmanager
def launched() -> Iterator[Browser]:
    """Start Chromium without a window, and end it afterwards; raise RuntimeError if there is none."""
    if PATH is None:
        raise RuntimeError(ADVICE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PATH, args=FLAGS)
        yield browser
        browser.close()
