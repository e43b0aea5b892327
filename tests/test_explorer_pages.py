"""What the site's extension does with explorers: dense files that pages share, and what cannot be shown."""

import base64
import json
from types import SimpleNamespace

import numpy as np
import pytest
from docutils import nodes
from docutils.utils import new_document
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sphinx.errors import ExtensionError

import explorers
import notebooks

ALPHABET = [chr(code) for code in range(ord("#"), ord("~") + 1) if chr(code) != "\\"]


@given(st.binary(max_size=200))
def test_dense_text_holds_thirteen_bits_in_two_characters(data):
    text = explorers.dense(data)
    assert set(text) <= set(ALPHABET)
    assert len(text) == 2 * -(-8 * len(data) // 13)
    pairs = np.array([ALPHABET.index(c) for c in text]).reshape(-1, 2)
    bits = "".join(f"{91 * a + b:013b}"[::-1] for a, b in pairs)
    again = bytes(int(bits[8 * k : 8 * k + 8][::-1], 2) for k in range(len(data)))
    assert again == data


@pytest.fixture
def app(tmp_path):
    """As much of Sphinx as the last step asks for."""
    return SimpleNamespace(outdir=str(tmp_path), srcdir=str(notebooks.ROOT))


def context(model_name: str, mark: str) -> dict:
    """A page with one mark and the state of one widget."""
    buffer = {"encoding": "base64", "path": ["weights"], "data": base64.b64encode(b"123").decode()}
    parts = ["a" * 3000 + "\n", "// --- 8< ---\n" + "b" * 3000]
    state = {"w": {"model_name": model_name, "state": {"_esm": "".join(parts), "z": 1}, "buffers": [buffer]}}
    script = SimpleNamespace(attributes={"type": explorers.STATE, "body": json.dumps({"state": state})})
    return {
        "script_files": [script, "theme.js"],
        "body": f'<script type="{notebooks.WIDGET_VIEW}">{{"model_id": "{mark}"}}</script>',
        "pathto": lambda name, _: name,
    }


def test_long_parts_become_files_that_are_shared(app, tmp_path):
    first, second = context("AnyModel", "w"), context("AnyModel", "w")
    for page in (first, second):
        explorers._enliven(app, "page", "page.html", page, None)
    assert first["script_files"] == ["theme.js"]
    assert first["body"] == second["body"]
    assert "aaa" not in first["body"]
    assert '"z": 1' in first["body"]
    files = {path.read_text("utf8") for path in (tmp_path / "_static" / "explorers").glob("*.js")}
    contents = {json.loads(text.partition("(")[2].partition(",")[2].rstrip(")\n")) for text in files}
    assert contents == {"a" * 3000 + "\n", "// --- 8< ---\n" + "b" * 3000, explorers.dense(b"123")}


@pytest.mark.parametrize(("model_name", "mark"), [("VBoxModel", "w"), ("AnyModel", "another")])
def test_what_is_no_explorer_stops_the_build(app, model_name, mark):
    with pytest.raises(ExtensionError, match="page shows a widget that is not an explorer"):
        explorers._enliven(app, "page", "page.html", context(model_name, mark), None)


def test_a_page_without_explorers_is_left_alone(app, tmp_path):
    page = {"script_files": ["theme.js"], "body": "text"}
    explorers._enliven(app, "page", "page.html", page, None)
    assert page == {"script_files": ["theme.js"], "body": "text"}
    assert not (tmp_path / "_static").exists()


@pytest.mark.parametrize("with_picture", [True, False])
def test_still_picture_is_for_pages_without_script_and_the_rest_needs_a_kernel(tmp_path, with_picture):
    document = new_document("page")
    document.settings.env = SimpleNamespace(srcdir=str(tmp_path))
    view = nodes.container(mime_type=notebooks.WIDGET_VIEW)
    view += nodes.raw("", '<script type="x">{"model_id": "w"}</script>', format="html")
    bundle = nodes.container(nb_element="mime_bundle")
    bundle += view
    if with_picture:
        Image.new("L", (30, 20)).save(tmp_path / "still.png")
        picture = nodes.container(mime_type="image/png")
        picture += nodes.image(uri="still.png")
        bundle += picture
    document += bundle
    explorers.StillPictureFirst(document).run()
    shown = document.astext()
    assert (list(document.findall(nodes.image)) != []) == with_picture
    assert ('data-ratio="30 / 20"' in shown) == with_picture
    assert ("<noscript>" in shown) == with_picture
    assert ("need a kernel" in shown) != with_picture
