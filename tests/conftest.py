"""Settings of the whole suite, and what several of its modules need."""

import copy
import functools
import http.server
import importlib.machinery
import importlib.util
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

import chromium
import explorer_page
import vae_src as vs
from vae_src.trained import load_trained
from vae_src.widgets.packing import quantize

# One thread: results repeat to the bit, and two test processes do not fight for the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture
def without_type_checks() -> Callable[[ModuleType], ModuleType]:
    """Load a module a second time as its users have it: the suite's shape checks would answer first."""

    def load(module: ModuleType) -> ModuleType:
        assert module.__file__
        loader = importlib.machinery.SourceFileLoader("as_users_have_it", module.__file__)
        spec = importlib.util.spec_from_loader(loader.name, loader)
        assert spec
        plain = importlib.util.module_from_spec(spec)
        loader.exec_module(plain)
        return plain

    return load


@pytest.fixture(scope="session")
def browser():
    """Start the installed Chromium; without one skip, except in continuous integration."""
    if chromium.PATH is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(chromium.ADVICE)
    with chromium.launched() as browser:
        yield browser


@pytest.fixture
def show(browser, tmp_path):
    """Return a function that shows an explorer alone on a page, as the static site would.

    The page must stay free of script errors, warnings, and requests.
    """
    from ipywidgets.embed import dependency_state

    tabs, trouble = [], []

    def open_explorer(*widgets, width=760, height=900, scheme="light", touch=False):
        state = {"state": dependency_state(widgets, drop_defaults=False)}
        path = tmp_path / f"explorer-{len(tabs)}.html"
        path.write_text(explorer_page.page(state, [widget.model_id for widget in widgets]), "utf8")
        context = browser.new_context(viewport={"width": width, "height": height}, has_touch=touch)
        tabs.append(context)
        context.set_default_timeout(10_000)
        tab = context.new_page()
        listen(tab, trouble)
        tab.on("request", lambda r: trouble.append(r.url) if r.url.startswith("http") else None)
        tab.goto(path.as_uri())
        tab.evaluate("scheme => document.documentElement.dataset.theme = scheme", scheme)
        tab.wait_for_selector("html[data-explorers=ready]")
        settle(tab)
        return tab

    yield open_explorer
    for context in tabs:
        context.close()
    assert trouble == []


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that prints nothing."""

    def log_message(self, *_):
        """Print nothing."""


@contextmanager
def serving(folder: Path, handler: type[Quiet] = Quiet) -> Iterator[str]:
    """Serve a folder, and yield its address, which ends without a slash."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def listen(tab, trouble: list[str], scripts: bool = True, but: str = "") -> None:
    """Note a page's errors, warnings and lost requests, but not what the answer to one address brings.

    Without scripts, the page's own fail to load: that is what was asked for.
    """

    def on_console(message) -> None:
        read_by_the_test = "willReadFrequently" in message.text  # advice for pages that read their canvases
        if message.type in {"error", "warning"} and not read_by_the_test and message.location["url"] != but:
            trouble.append(message.text)

    tab.on("pageerror", lambda error: trouble.append(str(error)))
    tab.on("console", on_console)
    tab.on(
        "response",
        lambda r: trouble.append(f"{r.status} {r.url}") if r.status >= 400 and r.url != but else None,
    )
    if scripts:
        tab.on("requestfailed", lambda r: trouble.append(f"{r.failure}: {r.url}"))


@contextmanager
def visits(browser, allowed: tuple[str, ...] = (), height: int = 900, **settings) -> Iterator[Callable]:
    """Yield a function that opens an address, each time as a new reader, and hold the pages to no trouble.

    They may ask for what begins with an allowed address only, if any is given. The settings are those of
    Playwright's contexts.
    """
    contexts, trouble = [], []

    def foreign(url: str) -> bool:
        return not url.startswith(allowed)

    def visit(url: str, width: int = 1280, scheme: str = "light", **more):
        size = {"width": width, "height": height}
        context = browser.new_context(viewport=size, color_scheme=scheme, **settings, **more)
        contexts.append(context)
        if allowed:
            context.route(foreign, lambda route: (trouble.append(route.request.url), route.abort()))
        tab = context.new_page()
        listen(tab, trouble, scripts=more.get("java_script_enabled", True), but=url)
        tab.goto(url)
        tab.wait_for_load_state("networkidle")
        return tab

    yield visit
    for context in contexts:
        context.close()
    assert trouble == []


def violations(tab) -> list:
    """Return what axe-core finds wrong with a page."""
    from axe_playwright_python import sync_playwright as axe

    tab.add_script_tag(path=Path(axe.__file__).with_name("axe.min.js"))
    # preload: false, or axe itself asks for stylesheets
    found = tab.evaluate("axe.run(document, {preload: false, rules: {'target-size': {enabled: true}}})")[
        "violations"
    ]
    return [(v["id"], [node["target"] for node in v["nodes"]]) for v in found]


def settle(tab) -> None:
    """Wait until a page has painted what it was told."""
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def spilling(tab) -> list[str]:
    """Return the parts of an explorer that reach beyond its right edge, as HTML."""
    return tab.locator(".vae-explorer").evaluate(
        """root => [...root.querySelectorAll(":not(.vae-hidden)")].map(e => [e.outerHTML, e])
          .filter(([, e]) => e.getBoundingClientRect().right > root.getBoundingClientRect().right + 0.5)
          .map(([html]) => html)"""
    )


@pytest.fixture
def in_node(tmp_path):
    """Return a function that runs `tests/js/NAME.test.mjs` in node, on a script and golden values.

    The test imports the script (an explorer's, NAME's own unless another is given) from the path in
    ``process.env.SCRIPT`` and reads the values, which the calling test computed in PyTorch, as JSON from
    ``process.env.GOLDEN``.
    """
    from vae_src.widgets.explorer import script

    def run(name: str, golden: dict, explorer: str | None = None) -> None:
        node = shutil.which("node")
        if node is None:
            missing = pytest.fail if os.environ.get("CI") else pytest.skip
            missing("node is not installed (Debian: apt-get install nodejs)")
        module, values = tmp_path / f"{name}.mjs", tmp_path / f"{name}.json"
        module.write_text(script(explorer or name), "utf8")
        values.write_text(json.dumps(golden), "utf8")
        test = Path(__file__).with_name("js") / f"{name}.test.mjs"
        run = subprocess.run(
            [node, "--test", str(test)],
            capture_output=True,
            text=True,
            env={**os.environ, "SCRIPT": module.as_uri(), "GOLDEN": str(values)},
        )
        assert run.returncode == 0, run.stdout + run.stderr

    return run


def rounded(network: nn.Module) -> nn.Module:
    """Return the network whose weights are those that the page unpacks."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            integers, scales = quantize(module.weight.detach().numpy())
            module.weight.data = torch.from_numpy(integers.astype(np.float32) * scales[:, None])
    return network


@pytest.fixture(scope="session")
def plane_models():
    """The VAE and the autoencoder with two latents, trained."""
    vae = vs.mlp_vae(latent_dim=2, hidden_dims=(256, 128))
    autoencoder = vs.mlp_autoencoder(latent_dim=2, hidden_dims=(256, 128))
    load_trained(vae, "mnist-2d-vae")
    load_trained(autoencoder, "mnist-2d-autoencoder")
    return vae, autoencoder
