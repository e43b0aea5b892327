"""Explorers in the pages: a still picture that comes alive where there is a script to do it.

A notebook brings its widgets' state, and a view and a still picture for each that it shows (`make execute`
makes the pictures). In the site each is a figure with a caption. A page without script shows the still
picture; in any other, explorers.js brings the explorer to life in its place. Long texts and weights, of which
two explorers may hold the same, become files that all pages share.

A page of text shows an explorer of a notebook through a directive, named by the id of its cell:

    ```{explorer} vae/variational-autoencoder.ipynb explorer-latent
    :alt: What the still picture shows.

    The caption.
    ```
"""

import base64
import hashlib
import html
import json
import os
import re
import shutil
import struct
from pathlib import Path
from typing import Any, ClassVar

import nbformat
import numpy as np
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

from notebooks import WIDGET_VIEW

STATE = "application/vnd.jupyter.widget-state+json"
MARK = re.compile(rf'<script type="{re.escape(WIDGET_VIEW)}"([^>]*)>(.+?)</script>', re.S)
BREAK = re.compile(r"(?=^/[/*] --- 8<)", re.M)  # as vae_src.widgets.explorer puts between parts
LONG = 2_000  # characters from which a text becomes a file of its own
# The heights in pixels of the explorers on a phone, where their parts stand below each other. Elsewhere they
# have the shape of their still pictures.
TALL = {
    "CodeExplorer": 1300,
    "MixtureExplorer": 1641,
    "DivergenceExplorer": 1489,
    "EvidenceBar": 763,
    "ReparameterizationExplorer": 1211,
    "PosteriorExplorer": 2020,
    "LatentExplorer": 859,
    "DrawADigit": 1828,
}
NEEDS_KERNEL = "These controls need a kernel: open the page in Colab, by the button above, or in JupyterLab."


def dense(data: bytes) -> str:
    """Write bytes as text that a script can hold: 13 bits in two of 91 characters, less than base64 takes.

    The characters are those from "#" to "~", without the backslash.
    """
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    groups = np.pad(bits, (0, -len(bits) % 13)).reshape(-1, 13).astype(int) @ (1 << np.arange(13))
    digits = np.stack(np.divmod(groups, 91), axis=1).ravel()
    codes = digits + ord("#")
    return bytes((codes + (codes >= ord("\\"))).astype(np.uint8)).decode("ascii")


class _SharedFiles:
    """The folder of the site in which equal contents are one file."""

    def __init__(self, site: Path) -> None:
        self.folder = site / "_static" / "explorers"
        self.folder.mkdir(parents=True, exist_ok=True)

    def add(self, text: str) -> str:
        """Store a text as a script that hands it to the runtime; return its name."""
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        (self.folder / f"{name}.js").write_text(f'vaeFile("{name}",{json.dumps(text)})\n', "utf8")
        return name

    def move_out(self, model: dict[str, Any]) -> dict[str, Any]:
        """Return a model's entry with what is long in files."""
        state = dict(model["state"])
        texts = [
            {"path": [key], "files": [self.add(part) for part in BREAK.split(state.pop(key))]}
            for key, value in model["state"].items()
            if isinstance(value, str) and len(value) >= LONG
        ]
        buffers = []
        for buffer in model.get("buffers", []):
            data = base64.b64decode(buffer["data"])
            buffers.append({"path": buffer["path"], "file": self.add(dense(data)), "bytes": len(data)})
        return {**model, "state": state, "texts": texts, "buffers": buffers}


def _widget_state(notebook: Path) -> dict[str, Any]:
    """Return the state of all widgets of an executed notebook, by name."""
    metadata = nbformat.read(notebook, as_version=4).metadata
    return metadata.get("widgets", {}).get(STATE, {}).get("state", {})


def _raw(markup: str) -> nodes.raw:
    """A piece of HTML that other formats leave out."""
    return nodes.raw("", markup, format="html")


def _still_or_alive(still: list[nodes.Node], png: bytes, model: str, notebook: str = "") -> list[nodes.Node]:
    """The still picture, which only a page without script loads, and the place for the living explorer."""
    width, height = struct.unpack(">II", png[16:24])  # how much room it will take, roughly
    attributes = f' data-ratio="{width} / {height}"'
    if notebook:
        attributes += f' data-notebook="{html.escape(notebook)}"'
    mark = f'<script type="{WIDGET_VIEW}"{attributes}>{json.dumps({"model_id": model})}</script>'
    return [_raw("<noscript>"), *still, _raw("</noscript>"), _raw(mark)]


class StillPictureFirst(SphinxPostTransform):
    """In HTML, show a widget's still picture and mark it; before MyST-NB would choose the bare widget."""

    default_priority = 3
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Replace each output that has a view by its picture, or by a note that it needs a kernel."""
        for bundle in list(self.document.findall(nodes.container)):
            if bundle.get("nb_element") != "mime_bundle":
                continue
            forms = [child for child in bundle.children if isinstance(child, nodes.Element)]
            kinds = {form["mime_type"]: form.children for form in forms}
            if WIDGET_VIEW not in kinds:
                continue
            view = json.loads(re.search(r"\{.*\}", kinds[WIDGET_VIEW][0].astext(), re.S).group())  # type: ignore[union-attr]
            if "image/png" in kinds:
                still = kinds["image/png"]
                image = next(node for part in still for node in part.findall(nodes.image))
                png = Path(self.env.srcdir, image["uri"].lstrip("/")).read_bytes()
                bundle.replace_self(_still_or_alive(still, png, view["model_id"]))
            else:
                note = nodes.note("", nodes.paragraph("", NEEDS_KERNEL), classes=["needs-kernel"])
                bundle.replace_self(note)


class Explorer(SphinxDirective):
    """Show, in a page of text, the explorer that a cell of a notebook shows."""

    required_arguments = 2
    has_content = True
    option_spec: ClassVar = {"alt": directives.unchanged_required, "name": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """Return a figure: the cell's still picture, the mark, the caption."""
        relative, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        cells = {cell.id: cell for cell in nbformat.read(path, as_version=4).cells}
        cell = cells.get(self.arguments[1])
        outputs = [o.data for o in (cell.outputs if cell else []) if WIDGET_VIEW in o.get("data", {})]
        if not outputs or "image/png" not in outputs[0]:
            raise self.error(f"{relative} has no executed cell {self.arguments[1]!r} that shows an explorer")
        picture = Path(self.env.app.outdir).parent / "explorers" / f"{self.arguments[1]}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(png := base64.b64decode(outputs[0]["image/png"]))
        uri = "/" + Path(os.path.relpath(picture, self.env.srcdir)).as_posix()
        still: list[nodes.Node] = [nodes.image(uri=uri, alt=self.options["alt"])]
        figure = nodes.figure("", classes=["explorer"])
        figure += _still_or_alive(still, png, outputs[0][WIDGET_VIEW]["model_id"], relative)
        text, _ = self.parse_inline(" ".join(self.content), lineno=self.lineno)
        figure += nodes.caption("", "", *text)
        self.add_name(figure)
        return [figure]


def _enliven(app: Sphinx, pagename: str, template: str, context: dict, doctree: object) -> None:
    """Give a page with explorers their state and the script that brings them to life."""
    scripts = context.get("script_files", [])
    states = [file for file in scripts if getattr(file, "attributes", {}).get("type") == STATE]
    context["script_files"] = [file for file in scripts if file not in states]
    own = {k: v for file in states for k, v in json.loads(file.attributes["body"])["state"].items()}
    if not MARK.search(context.get("body", "")):
        return
    files, state = _SharedFiles(Path(app.outdir)), {}

    def prepare(match: re.Match[str]) -> str:
        """Collect the state of one mark's explorer; name it apart from those of other notebooks."""
        name, notebook = json.loads(match[2])["model_id"], re.search(r'data-notebook="([^"]+)"', match[1])
        known = _widget_state(Path(app.srcdir, html.unescape(notebook[1]))) if notebook else own
        if known.get(name, {}).get("model_name") != "AnyModel":
            raise ExtensionError(f"{pagename} shows a widget that is not an explorer, or was not executed")
        label = f"{Path(notebook[1]).stem}-{name}" if notebook else name
        state[label] = files.move_out(known[name])
        ratio = re.search(r' data-ratio="([^"]+)"', match[1])
        kind = known[name]["state"].get("_anywidget_id", "").rpartition(".")[2]
        room = f"--wide: {ratio[1] if ratio else 'auto'}; --tall: {TALL.get(kind, 0)}px"  # see book.css
        mark = f'<script type="{WIDGET_VIEW}">{json.dumps({"model_id": label})}</script>'
        return f'{mark}<div class="vae-live pst-js-only" style="{room}"></div>'

    context["body"] = MARK.sub(prepare, context["body"])
    state |= {name: model for name, model in own.items() if model["model_name"].endswith("LinkModel")}
    text = json.dumps({"state": state}).replace("</", r"<\/")
    runtime = context["pathto"]("_static/explorers/explorers.js", 1)
    context["body"] += f'<script type="{STATE}">{text}</script><script defer src="{runtime}"></script>'


def _copy_runtime(app: Sphinx, error: Exception | None) -> None:
    """Copy the script that brings explorers to life into the finished site."""
    if not error and app.builder.format == "html":
        folder = Path(app.outdir, "_static", "explorers")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy2(Path(__file__).with_name("explorers.js"), folder)


def setup(app: Sphinx) -> dict[str, object]:
    """Connect the parts to the build."""
    app.add_directive("explorer", Explorer)
    app.add_post_transform(StillPictureFirst)
    app.connect("html-page-context", _enliven, priority=800)
    app.connect("build-finished", _copy_runtime)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
