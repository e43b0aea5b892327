"""Who imports whom in `vae_src`: the one table, and the promise that importing it is light."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "vae_src"
CORE = {
    *("randomness", "checkpoints", "data", "networks", "distributions", "models", "objectives"),
    *("estimators", "training", "evaluation", "exact", "variational", "inference", "metrics", "drawings"),
    *("downloads", "trained", "distributed"),
}
# Each module and the modules it may import. A folder counts as one module.
MAY_IMPORT = {
    "randomness": set(),
    "checkpoints": set(),
    "downloads": set(),
    "data": {"downloads"},
    "networks": set(),
    "drawings": set(),
    "metrics": set(),
    "checks": set(),
    "plotting": set(),
    "widgets": set(),
    "distributions": set(),
    "models": {"distributions", "networks"},
    "objectives": {"models", "distributions"},
    "estimators": {"objectives", "models", "distributions"},
    "distributed": set(),
    "training": {"checkpoints", "distributed", "randomness"},
    "trained": {"checkpoints"},
    "evaluation": {"objectives", "models", "distributions", "randomness"},
    "exact": {"models", "distributions"},
    "variational": {"distributions", "randomness"},
    "inference": {"evaluation", "models", "objectives", "randomness"},
    "exercises": CORE,
    "beyond": CORE,
    "__init__": CORE,
    "experiments": CORE | {"beyond"},
}
# Packages beside the standard library, torch and jaxtyping that a module may import.
MAY_REQUIRE = {
    "checkpoints": {"safetensors"},
    "data": {"numpy"},
    "downloads": {"numpy", "torchvision"},
    "training": {"tqdm"},
    "variational": {"tqdm"},
    "inference": {"tqdm"},
    "checks": {"IPython"},
    "plotting": {"numpy", "matplotlib"},
    "widgets": {"numpy", "anywidget", "traitlets"},
    "experiments": {"numpy", "tqdm", "torchvision"},
}
ALWAYS = {"torch", "jaxtyping"}


def imported(path: Path) -> set[str]:
    """Return the dotted names that a file imports, at any depth; relative imports fail."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: write `from vae_src.x import y`, not a relative import"
            whole = node.module == "vae_src"
            names |= {f"vae_src.{a.name}" for a in node.names} if whole else {node.module}
    return names


def module_of(path: Path) -> str:
    """Return the row of the table that a file belongs to."""
    inside = path.relative_to(PACKAGE).with_suffix("")
    return inside.parts[0]


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_what_the_table_allows(path):
    module = module_of(path)
    assert module in MAY_IMPORT, f"give {module} a row in MAY_IMPORT"
    ours = {n.split(".")[1] for n in imported(path) if n.startswith("vae_src.")} - {module}
    assert ours <= MAY_IMPORT[module], f"{module} must not import {ours - MAY_IMPORT[module]}"
    theirs = {name.split(".")[0] for name in imported(path)} - {"vae_src"} - sys.stdlib_module_names
    given_arrays = module in {"plotting", "widgets"}
    allowed = MAY_REQUIRE.get(module, set()) | (set() if given_arrays else ALWAYS)
    assert theirs <= allowed, f"{module} must not need {theirs - allowed}"


def test_beyond_modules_do_not_import_each_other():
    for path in PACKAGE.glob("beyond/*.py"):
        others = {n for n in imported(path) if n.startswith("vae_src.beyond")}
        assert path.name == "__init__.py" or not others, f"{path.name} imports {others}"


def test_no_cycles():
    graph: dict[str, set[str]] = {}
    for path in FILES:
        module = module_of(path)
        ours = {n.split(".")[1] for n in imported(path) if n.startswith("vae_src.")}
        graph.setdefault(module, set()).update(ours - {module})
    TopologicalSorter(graph).prepare()  # raises CycleError, naming the cycle


def test_importing_the_package_is_light():
    heavy = ["matplotlib", "torchvision", "anywidget", "ipywidgets", "IPython", "sklearn", "scipy"]
    code = f"import sys, vae_src; print([m for m in {heavy} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
