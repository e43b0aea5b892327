"""Run the Colab edition where it is read: in an environment with Colab's packages, from the set-up cell on.

    python book/_tools/try_colab.py .venv/colab

The environment is the one that `make colab` builds from tests/colab.txt, and the editions are those of the
built site. The set-up cell runs as it stands: pip clones the repository's address, which git's configuration
sends to a commit of this working tree. Nothing that Colab brings may change by it. Then every notebook runs
from its first cell to its last, in an empty folder; no cell may fail or write to stderr, and what it prints
must be what is stored, as `make pages` compares it.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_notebook

import colab
import execute
import notebooks
from tolerance import Printed

AT_ONCE = 2
KERNEL = "import google.colab; from ipykernel.kernelapp import launch_new_instance; launch_new_instance()"
SHOWN = {"torch", "torchvision", "numpy", "matplotlib", "ipykernel", "ipython", "ipywidgets", "anywidget"}


def run(*command: str | Path, **options) -> str:
    """Run a command and return what it prints; what goes wrong ends this program."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def packages(python: Path) -> set[str]:
    """Return what is installed in an environment, as pip lists it."""
    return set(run(python, "-m", "pip", "freeze", "--all").splitlines())


def restore(python: Path, brought: set[str]) -> None:
    """Uninstall what an earlier run added to Colab's packages."""
    added = [line.replace("==", " ").split()[0] for line in packages(python) - brought]
    if added:
        run(python, "-m", "pip", "uninstall", "--quiet", "--yes", *added)


def commit_working_tree(folder: Path) -> Path:
    """Return a new repository whose only commit is this working tree; our own repository is not touched."""
    person = {f"GIT_{who}_{what}": "book" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    git = ["git", f"--git-dir={folder / '.git'}", f"--work-tree={notebooks.ROOT}", "-c", "gc.auto=0"]
    run("git", "init", "--quiet", folder)
    run(*git, "add", "--all", cwd=notebooks.ROOT)
    run(*git, "commit", "--quiet", "--no-verify", "--message=Working tree", env={**os.environ, **person})
    return folder


def add_kernel(python: Path, folder: Path, repository: Path) -> None:
    """Describe a kernel that plays Colab's; it finds our repository at the address that the book names."""
    environment = {
        **execute.ENVIRONMENT,
        "PYTHONPATH": str(notebooks.ROOT / "tests" / "colab"),
        "PYTHONNOUSERSITE": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": notebooks.repository_url(),
    }
    arguments = ["-f", "{connection_file}", "--HistoryManager.hist_file=:memory:"]
    spec = {
        "argv": [str(python), "-c", KERNEL, *arguments],
        "display_name": "Colab",
        "language": "python",
        "env": environment,
    }
    (folder / "kernels" / "colab").mkdir(parents=True)
    (folder / "kernels" / "colab" / "kernel.json").write_text(json.dumps(spec), "utf8")
    os.environ["JUPYTER_PATH"] = str(folder)


async def executed(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Return a copy of a notebook, run in a folder of its own by the kernel that plays Colab's."""
    fresh = notebooks.loads(notebooks.dumps(notebook))
    client = NotebookClient(
        fresh,
        kernel_name="colab",
        timeout=execute.CELL_TIMEOUT_SECONDS,
        coalesce_streams=True,
        store_widget_state=False,
        extra_arguments=["--Application.log_level=ERROR"],
    )
    with tempfile.TemporaryDirectory(dir=folder) as empty:
        await client.async_execute(cwd=empty)
    return fresh


def printed(cell: NotebookNode, name: str = "stdout") -> str:
    """Return what a cell wrote to one of its two streams."""
    return "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == name)


def pictures(cell: NotebookNode) -> int:
    """Count the figures and explorers that a cell shows."""
    kinds = {"image/png", notebooks.WIDGET_VIEW}
    return sum(bool(kinds & set(output.get("data", {}))) for output in cell.outputs)


def complaints(source: NotebookNode, stored: NotebookNode, fresh: NotebookNode) -> list[str]:
    """List what a run of an edition shows otherwise than it should."""
    free = {cell.id for cell in source.cells if "nbval-ignore-output" in notebooks.tags(cell)}
    found = []
    for old, new in zip(notebooks.code_cells(stored), notebooks.code_cells(fresh), strict=True):
        if error := printed(new, "stderr"):
            found.append(f"{old.id} wrote to stderr: {error.strip()}")
        if old.id not in free and Printed(printed(old)) != printed(new):
            found.append(f"{old.id} printed\n{printed(new)}instead of\n{printed(old)}")
        if pictures(new) < pictures(old):
            found.append(f"{old.id} shows fewer pictures than are stored")
    return found


async def try_edition(path: Path, folder: Path, slots: asyncio.Semaphore) -> bool:
    """Run one edition and print a line about it; tell whether all was well."""
    name = path.relative_to(notebooks.ROOT).with_suffix("").as_posix()
    stored = notebooks.read(notebooks.ROOT / "_build" / "html" / colab.path(name))
    async with slots:
        started = time.perf_counter()
        try:
            found = complaints(notebooks.read(path), stored, await executed(stored, folder))
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            found = [str(error)]
        seconds = time.perf_counter() - started
    cells = len(notebooks.code_cells(stored))
    print(
        f"{colab.path(name):48}{cells:4} code cells {seconds:5.0f} s  {'FAILED' if found else 'ok'}",
        flush=True,
    )
    print(*found, sep="\n", end="\n" if found else "", flush=True)
    return not found


async def main() -> int:
    """Install the package as the set-up cell does, then run every edition; 1 if anything is wrong."""
    environment = Path(sys.argv[1]).absolute()
    python = environment / "bin" / "python"
    brought = set((environment / ".ready").read_text("utf8").split("\n")) - {""}
    paths = notebooks.notebook_paths()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        restore(python, brought)
        add_kernel(python, folder, commit_working_tree(folder / "repository"))
        first = notebooks.read(notebooks.ROOT / "_build" / "html" / colab.path("book/foundations/elbo"))
        setup = new_notebook(cells=[next(c for c in notebooks.code_cells(first) if c.id == "setup")])
        started = time.perf_counter()
        await executed(setup, folder)
        added, lost = packages(python) - brought, brought - packages(python)
        print(
            f"The set-up cell installed, in {time.perf_counter() - started:.0f} s: {', '.join(sorted(added))}"
        )
        if lost or not any(line.startswith("vae-src @") for line in added):
            sys.exit(f"It should have installed vae-src, and it changed: {sorted(lost) or 'nothing'}")
        versions = sorted(line for line in brought if line.split("==")[0] in SHOWN)
        print(f"{run(python, '-V').strip()} with {', '.join(versions)}", flush=True)
        slots = asyncio.Semaphore(AT_ONCE)
        return 0 if all(await asyncio.gather(*(try_edition(path, folder, slots) for path in paths))) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
