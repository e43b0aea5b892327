"""Execute the book's notebooks in place, and store them in one normal form.

    python book/_tools/execute.py                    every notebook of the book
    python book/_tools/execute.py book/vae/x.ipynb   one notebook
    python book/_tools/execute.py --tidy             the normal form only, nothing is run
    python book/_tools/execute.py --check            report stale or untidy notebooks, write nothing

Outputs are made on the CPU with one thread, so that they come out alike on any machine; a cell's
wall time, paths and random ids never reach the file. A notebook that fails is left as it was.
"""

import argparse
import base64
import io
import os
import sys
import tempfile
import time
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from PIL import Image, ImageChops

import chromium
import explorer_page
import notebooks
from notebooks import WIDGET_VIEW

BUDGET_SECONDS = 90  # for one chapter on two CPU cores
CELL_TIMEOUT_SECONDS = 600
STILL_WIDTH = 712  # of an explorer's picture, in CSS pixels: about the width of the article
LARGEST_COLOR_ERROR = 12  # of 255: what nobody sees in a figure
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "CUDA_VISIBLE_DEVICES": ""}


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Bring a notebook into the normal form, in place; doing so twice changes nothing."""
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    keep = {key: notebook.metadata[key] for key in ("vae_book", "widgets") if key in notebook.metadata}
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
        **keep,
    )
    for index, cell in enumerate(notebook.cells):
        cell.setdefault("id", f"cell-{index:03d}")
        cell.source = cell.source.strip("\n")
        kept = {key: cell.metadata[key] for key in ("tags", "mystnb") if cell.metadata.get(key)}
        cell.metadata = NotebookNode(kept)
        cell.pop("attachments", None)
    for number, cell in enumerate(notebooks.code_cells(notebook), start=1):
        cell.execution_count = number
        cell.outputs = [_normal_output(output, number) for output in _merged(cell.outputs)]
    return _with_stable_widget_ids(notebook)


def _merged(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join neighbouring pieces of one stream, which are split by timing alone."""
    merged: list[NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            merged.append(output)
    return merged


def _normal_output(output: NotebookNode, number: int) -> NotebookNode:
    """Give an output its cell's number, and a small picture."""
    if output.output_type == "execute_result":
        output.execution_count = number
    data = output.get("data", {})
    if "image/png" in data:
        data["image/png"] = _small_png(data["image/png"])
    return output


def _small_png(encoded: str) -> str:
    """Compress a picture: 256 colours where nobody can see a difference, else losslessly."""
    before = base64.b64decode(encoded)
    image = Image.open(io.BytesIO(before))
    if image.mode == "P":
        return encoded.strip()
    image = image.convert("RGBA")
    if image.getchannel("A").getextrema() == (255, 255):
        image = image.convert("RGB")
    palette = image.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    apart = ImageChops.difference(image, palette.convert(image.mode))
    best = palette if max(apart.tobytes()) <= LARGEST_COLOR_ERROR else image
    after = io.BytesIO()
    best.save(after, "PNG", optimize=True)
    return base64.b64encode(min(after.getvalue(), before, key=len)).decode()


def _with_stable_widget_ids(notebook: NotebookNode) -> NotebookNode:
    """Replace the widgets' random ids by their order of creation."""
    state = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    if not state:
        notebook.metadata.pop("widgets", None)
        return notebook
    text = notebooks.dumps(notebook)
    for index, name in enumerate(state):
        text = text.replace(name, f"{index:032x}")
    return notebooks.loads(text)


def add_still_pictures(notebook: NotebookNode) -> None:
    """Photograph each explorer that a notebook shows, for pages without script, print and code hosts."""
    outputs = [o for cell in notebooks.code_cells(notebook) for o in cell.outputs if "data" in o]
    widgets = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {})
    views = {
        output.data[WIDGET_VIEW]["model_id"]: output
        for output in outputs
        if WIDGET_VIEW in output.data
        and widgets["state"][output.data[WIDGET_VIEW]["model_id"]]["model_name"] == "AnyModel"
    }
    if not views:
        return
    with tempfile.TemporaryDirectory() as folder, chromium.launched() as browser:
        page = Path(folder, "explorers.html")
        page.write_text(explorer_page.page(widgets, list(views)), "utf8")
        tab = browser.new_page(viewport={"width": STILL_WIDTH, "height": 800}, device_scale_factor=1.5)
        tab.goto(page.as_uri())
        tab.wait_for_selector("html[data-explorers=ready]")
        tab.wait_for_timeout(500)  # a frame or two to paint
        for live, output in zip(tab.locator(".vae-live").all(), views.values(), strict=True):
            output.data["image/png"] = base64.b64encode(live.screenshot()).decode()


class Progress:
    """One line per notebook: which of how many, which cell of how many, seconds so far."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.started = label, total, time.perf_counter()
        self.live = sys.stdout.isatty()

    def __call__(self, cell: NotebookNode, cell_index: int) -> None:
        """Show the cell that starts now, on a terminal only."""
        if self.live:
            where = f"cell {cell_index + 1}/{self.total}"
            print(f"\r{self.label}  {where}  {self.seconds:.0f} s ", end="", flush=True)

    @property
    def seconds(self) -> float:
        """Seconds since the notebook started."""
        return time.perf_counter() - self.started

    def done(self, words: str) -> None:
        """Close the line."""
        start = "\r" if self.live else ""
        print(f"{start}{self.label}  {self.total} cells  {self.seconds:.0f} s  {words}", flush=True)


def execute(path: Path, label: str) -> bool:
    """Run one notebook and store it; report and leave the file alone where that fails."""
    notebook = notebooks.read(path)
    for index, cell in enumerate(notebook.cells):
        cell.setdefault("id", f"cell-{index:03d}")
    notebook.metadata.pop("widgets", None)
    progress = Progress(label, len(notebook.cells))
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_SECONDS,
        kernel_name="python3",
        extra_arguments=["--Application.log_level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=True,
        on_cell_start=progress,
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        progress.done("FAILED")
        print(f"\n{path}, left as it was:\n{error}", file=sys.stderr)
        return False
    try:
        add_still_pictures(notebook)
    except RuntimeError as error:
        progress.done("FAILED")
        print(f"\n{path}, left as it was: its explorers need a picture, and {error}", file=sys.stderr)
        return False
    notebook.metadata["vae_book"] = {"code_sha256": notebooks.code_hash(normalise(notebook))}
    notebook = normalise(notebook)
    if problems := notebooks.trouble(notebook):
        progress.done("FAILED")
        print(f"\n{path}, left as it was:", *problems, sep="\n  ", file=sys.stderr)
        return False
    notebooks.write(path, notebooks.dumps(notebook))
    over = progress.seconds > BUDGET_SECONDS
    progress.done(f"OVER the budget of {BUDGET_SECONDS} s" if over else "ok")
    return True


def check(path: Path, label: str) -> bool:
    """Report whether a notebook's outputs belong to its code and its file is in normal form."""
    notebook, problems = notebooks.read(path), []
    if notebooks.stored_hash(notebook) != notebooks.code_hash(notebook):
        problems.append("its code changed after its outputs were made: run `make execute`")
    if notebooks.dumps(normalise(notebook)) != path.read_text("utf8"):
        problems.append("it is not in normal form: run `make tidy`")
    print(label, *(problems or ["ok"]), sep="\n  " if problems else "  ")
    return not problems


def tidy(path: Path, label: str) -> bool:
    """Store a notebook in normal form without running it."""
    notebooks.write(path, notebooks.dumps(normalise(notebooks.read(path))))
    print(f"{label}  tidied")
    return True


def main() -> int:
    """Run the chosen action on the chosen notebooks; 1 if any of them fails."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("notebook", nargs="*", type=Path, help="default: every notebook of the book")
    parser.add_argument("--check", dest="action", action="store_const", const=check, default=execute)
    parser.add_argument("--tidy", dest="action", action="store_const", const=tidy)
    options = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    paths = options.notebook or notebooks.notebook_paths()
    done = [
        options.action(path, f"[{number}/{len(paths)}] {path.name}")
        for number, path in enumerate(paths, start=1)
    ]
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
