"""Copy the repository's address from _config.yml to where a reader needs it written out.

    python book/_tools/sync_setup.py           write the set-up cells and the pages below
    python book/_tools/sync_setup.py --check   report what differs, write nothing

Each notebook opens alone in Colab, so each must name the repository; the pages link to no other
repository on GitHub and to no other site of its Pages, so every such link in them is ours.
"""

import re
import sys
from pathlib import Path

from nbformat.v4 import new_code_cell

import notebooks

NAMES = ("README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "book/running.md")
PAGES = [notebooks.ROOT / name for name in NAMES]
LINK = re.compile(r"((?:github\.com|colab\.research\.google\.com/github)/)[\w-]+/[\w.-]*[\w-]")
SITE = re.compile(r"https://[\w-]+\.github\.io/(?:[\w.-]+/)?")  # followed by no page's path


def synced_page(path: Path) -> str:
    """Return a page with our address in every GitHub and Colab link."""
    name = notebooks.repository_url().removeprefix("https://github.com/")
    text = LINK.sub(lambda match: match.group(1) + name, path.read_text("utf8"))
    return SITE.sub(notebooks.site_url(), text)


def synced_notebook(path: Path) -> str:
    """Return a notebook whose second cell is the set-up cell."""
    notebook = notebooks.read(path)
    cells = [cell for cell in notebook.cells if not notebooks.is_setup(cell)]
    setup = new_code_cell(
        notebooks.setup_source(), id="setup", metadata={"tags": ["hide-input"]}, execution_count=1
    )
    notebook.cells = [*cells[:1], setup, *cells[1:]]
    return notebooks.dumps(notebook)


def main() -> int:
    """Write or, with --check, report every file that differs; 1 if a check finds one."""
    check = "--check" in sys.argv[1:]
    texts = {path: synced_page(path) for path in PAGES}
    texts |= {path: synced_notebook(path) for path in notebooks.notebook_paths()}
    differing = [path for path, text in texts.items() if text != path.read_text("utf8")]
    for path in differing:
        print(f"{path.relative_to(notebooks.ROOT)}: {'differs, run `make sync`' if check else 'written'}")
        if not check:
            notebooks.write(path, texts[path])
    return 1 if check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
