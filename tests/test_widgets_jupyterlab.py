"""An explorer in JupyterLab: moved by hand, by ipywidgets' sliders and from Python, in light and dark."""

import importlib.util
import json
import os
import subprocess
import sys
import time

import nbformat
import pytest
from conftest import settle

SECONDS = 60  # for the server, or for one step in the page, on a busy machine

SETUP = """
import io

import ipywidgets
import torch
from matplotlib.figure import Figure

import vae_src as vs
from vae_src.trained import load_trained
from vae_src.widgets import LatentExplorer

vae = vs.mlp_vae(latent_dim=2, hidden_dims=(256, 128))
autoencoder = vs.mlp_autoencoder(latent_dim=2, hidden_dims=(256, 128))
load_trained(vae, "mnist-2d-vae")
load_trained(autoencoder, "mnist-2d-autoencoder")
test = vs.sample("mnist").test
x, labels = vs.binarize(test.images, torch.Generator().manual_seed(0)), test.labels
"""
SHOW = """
explorer = LatentExplorer(vae, autoencoder, x, labels, z1=0.5, z2=1.0)
sliders = [ipywidgets.FloatSlider(min=-4, max=4, step=0.01) for _ in range(2)]
figure = ipywidgets.Image()

def draw(change=None):
    with torch.no_grad():
        picture = vae.decode(torch.tensor([[explorer.z1, explorer.z2]])).mean[0, 0]
    fig = Figure(figsize=(2, 2))
    fig.subplots().imshow(picture, cmap="gray_r")
    png = io.BytesIO()
    fig.savefig(png)
    figure.value = png.getvalue()

ipywidgets.link((explorer, "z1"), (sliders[0], "value"))
ipywidgets.jslink((explorer, "z2"), (sliders[1], "value"))
explorer.observe(draw, ["z1", "z2"])
draw()
ipywidgets.VBox([ipywidgets.HBox([*sliders, figure]), explorer])
"""
FIGURE = ".jupyter-widgets img"
TELL = "print(f'{explorer.z1:.2f} {explorer.z2:.2f}'.replace('-', '−'))"


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """The address of a notebook in a running JupyterLab, which knows no settings but its own."""
    if importlib.util.find_spec("jupyterlab") is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("JupyterLab is not installed: pip install -r requirements.txt")
    folder = tmp_path_factory.mktemp("lab")
    cells = [nbformat.v4.new_code_cell(source) for source in (SETUP, SHOW, TELL)]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), folder / "x.ipynb")
    names = ["CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "MPLBACKEND"))}
    environment |= {f"JUPYTER_{name}": str(folder / name) for name in names}
    environment |= {f"JUPYTERLAB_{name}_DIR": str(folder / name) for name in ("SETTINGS", "WORKSPACES")}
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0", "--log-level=ERROR"]
    options += ["--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"]
    server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], cwd=folder, env=environment)
    try:
        deadline = time.monotonic() + SECONDS
        while not (found := list((folder / "RUNTIME_DIR").glob("jpserver-*.json"))):
            assert server.poll() is None, "JupyterLab ended at once"
            assert time.monotonic() < deadline, "JupyterLab does not start"
            time.sleep(0.1)
        about = json.loads(found[0].read_text("utf8"))
        yield f"{about['url']}lab/tree/x.ipynb?token={about['token']}"
    finally:
        server.terminate()
        server.wait(SECONDS)


@pytest.fixture(scope="module")
def tab(notebook, browser):
    """The page of JupyterLab, with all cells run; it must ask nobody else for anything."""
    context, trouble = browser.new_context(viewport={"width": 1280, "height": 1600}), []
    context.set_default_timeout(1000 * SECONDS)
    known = (notebook.partition("lab/")[0], "data:", "blob:")
    tab = context.new_page()
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    tab.on("request", lambda r: trouble.append(r.url) if not r.url.startswith(known) else None)
    tab.goto(notebook)
    tab.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
    )
    tab.evaluate("() => void jupyterapp.commands.execute('notebook:run-all-cells')")
    tab.wait_for_selector(f"{FIGURE}, .jp-RenderedText[data-mime-type$=stderr]")
    assert tab.locator("[data-mime-type$=stderr]").all_inner_texts() == []
    yield tab
    context.close()
    assert trouble == []


def place(tab) -> list[str]:
    """Return z₁ and z₂ as the explorer writes them."""
    return tab.locator(".vae-sliders output").all_inner_texts()


def after(tab, act) -> list[str]:
    """Act, and wait until figure, sliders and kernel have followed the explorer; return its z₁ and z₂."""
    figure = tab.locator(FIGURE).get_attribute("src")
    act()
    tab.wait_for_function(f"before => document.querySelector('{FIGURE}').src !== before", arg=figure)
    cell, deadline = tab.locator(".jp-CodeCell").last, time.monotonic() + SECONDS
    while True:
        cell.locator(".cm-content").click()
        tab.keyboard.press("Control+Enter")
        tab.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]")
        found = place(tab)
        sliders = [text.replace("-", "−") for text in tab.locator(".widget-readout").all_inner_texts()]
        kernel = cell.locator(".jp-OutputArea-output").inner_text().split()
        if found == sliders == kernel:
            return found
        assert time.monotonic() < deadline, (found, sliders, kernel)


def test_moved_by_hand(tab):
    assert place(tab) == ["0.50", "1.00"]
    canvas = tab.locator(".vae-map")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()

    def drag() -> None:
        tab.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.6 * box["height"])
        tab.mouse.down()
        tab.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.2 * box["height"], steps=10)
        tab.mouse.up()

    dragged = after(tab, drag)
    assert dragged != ["0.50", "1.00"]
    right = after(tab, lambda: canvas.press("ArrowRight"))
    assert (right[0] != dragged[0], right[1]) == (True, dragged[1])


def test_moved_by_a_slider_of_the_kernel_and_one_of_the_page(tab):
    z1, z2 = place(tab)
    left = after(tab, lambda: tab.locator(".noUi-handle").first.press("ArrowLeft"))
    assert (left[0] != z1, left[1]) == (True, z2)
    down = after(tab, lambda: tab.locator(".noUi-handle").last.press("ArrowDown"))
    assert (down[0], down[1] != z2) == (left[0], True)


@pytest.mark.parametrize("query", [".vae-sliders input", "[type=radio]"])
def test_arrow_keys_stay_with_their_control(tab, query):
    tab.locator(f".vae-latent {query}").first.focus()
    for key in ["ArrowDown", "ArrowUp"]:
        tab.keyboard.press(key)
        assert tab.evaluate("() => document.activeElement.closest('.vae-latent') !== null"), key


def test_terms_are_as_wide_as_their_words(tab):
    settle(tab)
    lines = tab.evaluate("""() => {
      const words = document.createRange();
      words.selectNodeContents(document.querySelector(".vae-latent dt"));
      return words.getClientRects().length;
    }""")
    assert lines == 1


def test_follows_the_theme(tab):
    canvas = tab.locator(".vae-map")
    canvas.scroll_into_view_if_needed()
    light = canvas.evaluate("(canvas) => canvas.toDataURL()")
    tab.evaluate("() => jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    tab.wait_for_selector("body[data-jp-theme-light=false]", state="attached")
    tab.wait_for_function("light => document.querySelector('.vae-map').toDataURL() !== light", arg=light)
