"""What the tools and the tests share: which pages exist, and how a notebook of this book looks."""

import copy
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import nbformat
import yaml
from nbformat import NotebookNode
from nbformat.v4.rwbase import rejoin_lines, split_lines

ROOT = Path(__file__).resolve().parents[2]
SETUP_TEMPLATE = (Path(__file__).with_name("setup_cell.txt")).read_text("utf8").strip()
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"  # of an output: a widget, by its id
# A path that only one machine has. The second group keeps "/tmp/" inside a word or a URL out.
MACHINE_PATH = re.compile(r"(?<![\w:/.])(?:/home|/root|/Users|/tmp|/private)/\S+|site-packages/\S+")


def repository_url() -> str:
    """Return the repository's address, from the one place where it stands."""
    return yaml.safe_load((ROOT / "_config.yml").read_text("utf8"))["repository"]["url"]


def site_url() -> str:
    """Return the address at which GitHub Pages serve the repository's site."""
    owner, name = repository_url().removeprefix("https://github.com/").split("/")
    host = f"{owner.lower()}.github.io"
    return f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"


def setup_source() -> str:
    """Return the source of the set-up cell that opens every notebook."""
    return SETUP_TEMPLATE.replace("{repository}", repository_url())


def pages() -> list[Path]:
    """Return the source file of every page in the table of contents, in reading order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf8"))
    files = (ROOT / name for name in _names(toc))
    return [next((p for s in (".ipynb", ".md") if (p := f.with_suffix(s)).exists()), f) for f in files]


def notebook_paths() -> list[Path]:
    """Return the notebooks in the table of contents, in reading order."""
    return [page for page in pages() if page.suffix == ".ipynb"]


def _names(entry: Any) -> Iterator[str]:
    """Yield `root` and every `file` of a table of contents, depth first."""
    if isinstance(entry, list):
        for item in entry:
            yield from _names(item)
    elif isinstance(entry, dict):
        yield from (entry[key] for key in ("root", "file") if key in entry)
        for key in ("parts", "chapters", "sections"):
            yield from _names(entry.get(key))


def read(path: Path) -> NotebookNode:
    """Read a notebook."""
    return loads(path.read_text("utf8"))


def loads(text: str) -> NotebookNode:
    """Parse a notebook, its texts joined; unlike `nbformat.reads`, add no random cell ids."""
    return rejoin_lines(cast(NotebookNode, nbformat.from_dict(json.loads(text))))


def dumps(notebook: NotebookNode) -> str:
    """Return the one text in which a notebook of this book is stored."""
    lines = split_lines(copy.deepcopy(notebook))
    return json.dumps(lines, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def write(path: Path, text: str) -> None:
    """Write a file aside and move it into place, so that it is never half written."""
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(text, "utf8", newline="\n")
    os.replace(aside, path)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the cells that run, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    """Return a cell's tags."""
    return cell.metadata.get("tags", [])


def is_setup(cell: NotebookNode) -> bool:
    """Tell whether a cell is the Colab set-up cell, by its first line."""
    return cell.source.startswith(SETUP_TEMPLATE.splitlines()[0])


def code_hash(notebook: NotebookNode) -> str:
    """Hash the code that made the outputs; the set-up cell does nothing here and is left out."""
    sources = [cell.source for cell in code_cells(notebook) if not is_setup(cell)]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def stored_hash(notebook: NotebookNode) -> str | None:
    """Return the hash of the code that made the stored outputs, None if never executed."""
    return notebook.metadata.get("vae_book", {}).get("code_sha256")


def output_text(cell: NotebookNode) -> str:
    """Return all text in a cell's outputs; pictures are left out."""
    texts = []
    for output in cell.get("outputs", []):
        texts += [output.get("text", ""), "\n".join(output.get("traceback", []))]
        for kind, data in output.get("data", {}).items():
            if not kind.startswith("image/"):
                texts.append(data if isinstance(data, str) else json.dumps(data))
    return "\n".join(texts)


def trouble(notebook: NotebookNode) -> list[str]:
    """List what must not stand in stored outputs: errors, stderr, paths of one machine."""
    found = []
    for number, cell in enumerate(code_cells(notebook), start=1):
        for out in cell.outputs:
            if out.output_type == "error":
                found.append(f"code cell {number} holds an error: {out.ename}: {out.evalue}")
            elif out.output_type == "stream" and out.name == "stderr":
                found.append(f"code cell {number} wrote to stderr: {out.text.strip()[:200]}")
        if path := MACHINE_PATH.search(output_text(cell)):
            found.append(f"code cell {number} shows a path of this machine: {path.group()}")
    return found
