"""The explorers with a kernel behind them: under the book's ipywidgets 8, and under the 7 that Colab has.

The tests play the page: they read what a real kernel sends to it, and send what it would.
"""

import importlib.metadata
import json
import os
import sys
import sysconfig
import zlib
from pathlib import Path

import nbformat
import pytest
from conftest import settle
from ipywidgets.embed import dependency_state
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

import explorer_page
import notebooks
from notebooks import WIDGET_VIEW
from vae_src import widgets

SECONDS = 60  # to wait for one message, on a busy machine
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
PINS = Path(__file__).with_name("colab.txt")
COLAB = Path(sys.prefix, "colab")  # where `make unit` installs them
# What Colab's environment lacks, such as vae_src itself, comes from this one, after all that it has.
LIKE_COLAB = f"""
import site

site.addsitedir({sysconfig.get_path("purelib")!r})

from ipykernel.kernelapp import launch_new_instance

launch_new_instance()
"""

PREPARE = """
import importlib.metadata
import json

import torch

import vae_src as vs
from vae_src.experiments.runs import digit_classifier
from vae_src.trained import load_trained
from vae_src.widgets import *

vae = vs.mlp_vae(latent_dim=2, hidden_dims=(256, 128))
autoencoder = vs.mlp_autoencoder(latent_dim=2, hidden_dims=(256, 128))
load_trained(vae, "mnist-2d-vae")
load_trained(autoencoder, "mnist-2d-autoencoder")
judge = digit_classifier()
load_trained(judge, "digit-classifier")
test = vs.sample("mnist").test
x, labels = vs.binarize(test.images, torch.Generator().manual_seed(0))[:200], test.labels[:200]
"""
CALLS = {
    "CodeExplorer": "CodeExplorer(autoencoder, judge, x, labels)",
    "DivergenceExplorer": "DivergenceExplorer(left_weight=0.3)",
    "DrawADigit": "DrawADigit(vae, x, labels)",
    "EvidenceBar": "EvidenceBar(decoder='square')",
    "LatentExplorer": "LatentExplorer(vae, autoencoder, x, labels, z1=0.5)",
    "MixtureExplorer": "MixtureExplorer(torch.stack([x.mean((1, 2, 3)), x[..., :9].mean((1, 2, 3))], 1))",
    "PosteriorExplorer": "PosteriorExplorer(vae, x, labels, [84, 0])",
    "ReparameterizationExplorer": "ReparameterizationExplorer(scale=0.5)",
}

# A cell that drives an explorer: a slider linked by the kernel, another by the page; a figure that follows.
CONTROLS = f"""
import ipywidgets
import matplotlib.pyplot as plt
from IPython.display import clear_output

explorer = {CALLS["LatentExplorer"]}
slider, twin = (ipywidgets.FloatSlider(min=-3, max=3, step=0.01) for _ in range(2))
link = ipywidgets.link((explorer, "z1"), (slider, "value"))
in_page = ipywidgets.jslink((twin, "value"), (explorer, "z2"))
picture = ipywidgets.Output()

def draw(change=None):
    with picture, torch.no_grad():
        clear_output(wait=True)
        plt.figure(figsize=(1, 1))
        plt.imshow(vae.decode(torch.tensor([[explorer.z1, explorer.z2]])).mean[0, 0])
        plt.show()

explorer.observe(draw, ["z1", "z2"])
"""

# Stands in for google.colab.output. Like it, it marks what is displayed, but not the results of cells.
COLAB_OUTPUT = f"""
import sys
from types import ModuleType, SimpleNamespace

asked = 0

def enable_custom_widget_manager():
    global asked
    asked += 1
    output._widgets._installed_url = "manager.js"

def mark(message):
    if asked and {WIDGET_VIEW!r} in message["content"]["data"]:
        manager = {{"custom_widget_manager": {{"url": "manager.js"}}}}
        message["content"]["metadata"][{WIDGET_VIEW!r}] = {{"colab": manager}}
    return message

def leave():
    get_ipython().display_pub.unregister_hook(mark)
    del sys.modules["google.colab.output"]

output = sys.modules["google.colab.output"] = ModuleType("google.colab.output")
output.enable_custom_widget_manager = enable_custom_widget_manager
output._widgets = SimpleNamespace(_installed_url=None)
get_ipython().display_pub.register_hook(mark)
"""

CANVASES = "element => [...element.querySelectorAll('canvas')].map((canvas) => canvas.toDataURL())"


class Kernel:
    """A running kernel, seen from a page."""

    def __init__(self, python: Path | None) -> None:
        environment = {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        environment.pop("MPLBACKEND", None)  # so that figures go to the page
        self.manager = KernelManager(kernel_name="python3")
        if python:
            # not the copy that `make colab` may have installed
            environment["PYTHONPATH"] = str(notebooks.ROOT)
            self.manager.kernel_spec.argv = [str(python), "-c", LIKE_COLAB, "-f", "{connection_file}"]
        self.manager.start_kernel(extra_arguments=["--Application.log_level=CRITICAL"], env=environment)
        self.client = self.manager.client()

    def __enter__(self) -> "Kernel":
        self.client.start_channels()
        self.client.wait_for_ready(timeout=SECONDS)
        return self

    def __exit__(self, *error: object) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def run(self, code: str) -> list[dict]:
        """Run a cell, and return what it sends; its error is this test's."""
        sent = self.answers(self.client.execute(code, store_history=False))
        assert not (failed := errors(sent)), failed
        return sent

    def value(self, expression: str):
        """Return the value of an expression in the kernel."""
        sent = self.run(f"print(json.dumps({expression}))")
        return json.loads("".join(m["content"]["text"] for m in sent if m["msg_type"] == "stream"))

    def page_sets(self, model: str, **state) -> list[dict]:
        """Send what `model.save_changes()` sends from a page, and return what comes back."""
        data = {"method": "update", "state": state, "buffer_paths": []}
        message = self.client.session.msg("comm_msg", {"comm_id": model, "data": data})
        self.client.shell_channel.send(message)
        return self.answers(message["header"]["msg_id"])

    def answers(self, name: str) -> list[dict]:
        """Return what the kernel sends because of a message, up to when it has done with it."""
        sent = []
        while not (sent and sent[-1]["content"].get("execution_state") == "idle"):
            message = self.client.iopub_channel.get_msg(timeout=SECONDS)
            sent += [message] * (message["parent_header"].get("msg_id") == name)
        return sent


@pytest.fixture(scope="module", params=["ipywidgets 8", "ipywidgets 7"])
def kernel(request):
    """A kernel that has all that explorers are made of: this environment's, or that of one like Colab's."""
    older = request.param == "ipywidgets 7"
    if older and not (COLAB / ".ready").exists():
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(f"the packages of tests/{PINS.name} are not in {COLAB}: `make unit` installs them")
    with Kernel(COLAB / "bin" / "python" if older else None) as kernel:
        kernel.run(PREPARE)
        kernel.pins = dict(line.split("==") for line in PINS.read_text("utf8").split() if "==" in line)
        kernel.pins = kernel.pins if older else {}
        yield kernel


@pytest.fixture(scope="module")
def here():
    """The same explorers in this process."""
    names: dict = {}
    exec(PREPARE, names)
    return {name: eval(CALLS[name], names) for name in widgets.__all__}


def opened(messages: list[dict], model: str) -> list[dict]:
    """Return the messages that open models of a kind."""
    opening = [m for m in messages if m["msg_type"] == "comm_open"]
    return [m for m in opening if m["content"]["data"]["state"]["_model_name"] == model]


def shown(messages: list[dict]) -> list[dict]:
    """Return what the page is told to show."""
    return [m["content"] for m in messages if m["msg_type"] in {"display_data", "execute_result"}]


def errors(messages: list[dict]) -> list[str]:
    """Return the messages of errors."""
    return [m["content"]["evalue"] for m in messages if m["msg_type"] == "error"]


def updates(messages: list[dict], model: str) -> dict:
    """Return what a page learns about a model."""
    contents = [m["content"] for m in messages if m["msg_type"] == "comm_msg"]
    states = [content["data"]["state"] for content in contents if content["comm_id"] == model]
    return {trait: value for state in states for trait, value in state.items()}


def test_every_explorer_has_a_row():
    assert set(widgets.__all__) == set(CALLS)


def test_kernel_has_the_versions_meant(kernel):
    modules = [
        "anywidget",
        "ipykernel",
        "ipywidgets",
        "jupyter_client",
        "numpy",
        "torch",
        "tornado",
        "traitlets",
    ]
    versions = {module: importlib.metadata.version(module) for module in modules}
    found = kernel.value(f"{{m: importlib.metadata.version(m) for m in {modules}}}")
    files = kernel.value(f"[importlib.import_module(m).__file__ for m in {modules}]")
    assert found == {module: kernel.pins.get(module, version) for module, version in versions.items()}
    assert {Path(file).is_relative_to(COLAB) for file in files} == {bool(kernel.pins)}
    assert found["ipywidgets"].split(".")[0] == ("7" if kernel.pins else "8")
    assert Path(kernel.value("vs.__file__")).is_relative_to(notebooks.ROOT)


@pytest.mark.parametrize("name", widgets.__all__)
def test_page_gets_the_whole_state(kernel, here, name):
    (message,) = opened(kernel.run(f"made = {CALLS[name]}"), "AnyModel")
    explorer, data = here[name], message["content"]["data"]
    traits = {trait: getattr(explorer, trait) for trait in getattr(widgets, name).class_own_traits(sync=True)}
    binary = {trait: value for trait, value in traits.items() if isinstance(value, bytes)}
    paths = [".".join(path) for path in data["buffer_paths"]]
    assert dict(zip(paths, map(bytes, message["buffers"]), strict=True)) == binary
    in_kernel = kernel.value(f"{{trait: getattr(made, trait).hex() for trait in {paths}}}")
    assert in_kernel == {trait: value.hex() for trait, value in binary.items()}

    major, minor, _ = kernel.value("importlib.metadata.version('anywidget')").split(".")
    anywidget = f"~{major}.{minor}.*"  # what a page may load to show it
    expected = {trait: value for trait, value in traits.items() if trait not in binary} | {
        "_esm": explorer._esm,
        "_css": explorer._css,
        "_model_module": "anywidget",
        "_model_module_version": anywidget,
        "_view_module": "anywidget",
        "_view_module_version": anywidget,
        "_view_name": "AnyView",
    }
    assert {key: data["state"].get(key) for key in expected} == expected


@pytest.mark.parametrize("name", widgets.__all__)
def test_cell_shows_the_view_and_the_name(kernel, here, name):
    sent = kernel.run(f"made = {CALLS[name]}\nmade")
    (model,), (output,) = opened(sent, "AnyModel"), shown(sent)
    assert output["data"]["text/plain"] == repr(here[name])
    assert output["data"][WIDGET_VIEW]["version_major"] == 2
    assert output["data"][WIDGET_VIEW]["model_id"] == model["content"]["comm_id"]


def test_colab_is_asked_once_for_its_manager_of_other_widgets(kernel):
    kernel.run(COLAB_OUTPUT)
    try:
        outputs = [shown(kernel.run(CALLS["LatentExplorer"])) for _ in range(2)]
        assert kernel.value("asked") == 1
    finally:
        kernel.run("leave()")
    manager = {"colab": {"custom_widget_manager": {"url": "manager.js"}}}
    assert [output["metadata"][WIDGET_VIEW] for (output,) in outputs] == [manager, manager]


def test_page_and_sliders_and_figure_follow_each_other(kernel):
    (link,) = opened(kernel.run(CONTROLS), "LinkModel")
    explorer, slider, twin, picture = kernel.value("[w.model_id for w in (explorer, slider, twin, picture)]")
    state = link["content"]["data"]["state"]
    assert state["source"] == [f"IPY_MODEL_{twin}", "value"]
    assert state["target"] == [f"IPY_MODEL_{explorer}", "z2"]

    def figure(sent: list[dict]) -> int:
        """Return a hash of the one figure, which must come while the Output claims what is shown."""
        claimed, drawn, released = [
            m for m in sent if m["msg_type"] == "display_data" or m["content"].get("comm_id") == picture
        ]
        assert updates([claimed], picture) == {"msg_id": claimed["parent_header"]["msg_id"]}
        assert updates([released], picture) == {"msg_id": ""}
        return zlib.crc32(drawn["content"]["data"]["image/png"].encode())

    at_first = figure(kernel.run("draw()"))
    sent = kernel.page_sets(explorer, z1=0.7)
    assert updates(sent, slider) == {"value": 0.7}
    assert kernel.value("[explorer.z1, slider.value]") == [0.7, 0.7]
    assert figure(sent) == figure(kernel.run("draw()")) != at_first

    sent = kernel.page_sets(slider, value=1.1)
    assert updates(sent, explorer) == {"z1": 1.1}
    assert figure(sent) == figure(kernel.run("draw()"))

    kernel.page_sets(twin, value=0.3)  # a link in the page tells about both ends
    sent = kernel.page_sets(explorer, z2=0.3)
    assert kernel.value("[twin.value, explorer.z1, explorer.z2]") == [0.3, 1.1, 0.3]
    assert figure(sent) == figure(kernel.run("draw()"))

    sent = kernel.run("slider.value = -0.4")
    assert (updates(sent, slider), updates(sent, explorer)) == ({"value": -0.4}, {"z1": -0.4})
    assert figure(sent) == figure(kernel.run("draw()"))
    sent = kernel.run("explorer.z1 = 0.5")
    assert (updates(sent, slider), updates(sent, explorer)) == ({"value": 0.5}, {"z1": 0.5})
    assert figure(kernel.page_sets(explorer, z2=0)) == at_first


@pytest.mark.parametrize(
    ("trait", "value"),
    [
        ("z1", None),
        ("z2", "far"),
        ("space", "plane"),
        ("path_to", [1, None]),
        ("walked", 7),
        ("labels", "text"),
    ],
)
def test_bad_value_from_a_page_is_refused(kernel, trait, value):
    kernel.run(f"made = {CALLS['LatentExplorer']}\nbefore = made.get_state()")
    model = kernel.value("made.model_id")
    (error,) = errors(kernel.page_sets(model, **{trait: value}))
    assert trait in error
    assert kernel.value("made.get_state() == before")
    kernel.page_sets(model, z1=0.25)
    assert kernel.value("made.z1") == 0.25


def test_stored_notebook_comes_alive_without_a_kernel(kernel, here, browser, tmp_path):
    cells = [nbformat.v4.new_code_cell(CALLS[name]) for name in widgets.__all__]
    notebook = nbformat.v4.new_notebook(cells=cells)
    runner = NotebookClient(notebook, km=kernel.manager, store_widget_state=True, timeout=SECONDS)
    runner.execute()
    runner.kc.stop_channels()
    views = [output.data[WIDGET_VIEW]["model_id"] for cell in cells for output in cell.outputs]
    stored = pictures(browser, tmp_path / "stored.html", notebook.metadata.widgets[WIDGET_STATE], views)

    state = {"state": dependency_state(list(here.values()), drop_defaults=False)}
    views = [explorer.model_id for explorer in here.values()]
    assert stored == pictures(browser, tmp_path / "here.html", state, views)
    assert len(stored) == len(here)
    assert [name for name, (first, moved) in zip(here, stored, strict=True) if first == moved] == []


def pictures(browser, path: Path, state: dict, views: list[str]) -> list[tuple[list[str], list[str]]]:
    """Return what the canvases of a page's explorers show, at first and after an arrow key."""
    path.write_text(explorer_page.page(state, views), "utf8")
    tab, trouble, found = browser.new_page(), [], []
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    tab.on("console", lambda message: trouble.append(message.text))
    tab.goto(path.as_uri())
    tab.wait_for_selector("html[data-explorers=ready]")
    settle(tab)
    for explorer in tab.locator(".vae-live").all():
        first = explorer.evaluate(CANVASES)
        explorer.locator("[tabindex='0'], [type=range]").first.press("ArrowRight")
        settle(tab)
        found.append((first, explorer.evaluate(CANVASES)))
    tab.close()
    assert trouble == []
    return found
