"""The tools that make the pages: one normal form, and an honest tolerance."""

import base64
import io
import re
import runpy
import shutil
import sys

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import execute
import new_chapter
import notebooks
from tolerance import Printed

CONFIG = notebooks.ROOT / "_config.yml"


def png(image: Image.Image) -> str:
    """Encode a picture as a notebook does."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode() + "\n"


def noisy_notebook() -> notebooks.NotebookNode:
    """Return a notebook with everything that differs from run to run."""
    widget = "0123456789abcdef0123456789abcdef"
    gradient = Image.linear_gradient("L").resize((60, 40))
    cells = [
        new_markdown_cell("# Title\n\n", metadata={"editable": True}),
        new_code_cell(
            "print(1)\n",
            execution_count=7,
            metadata={"execution": {"iopub.execute_input": "now"}, "tags": []},
            outputs=[
                new_output("stream", name="stdout", text="1\n"),
                new_output("stream", name="stdout", text="2\n"),
                new_output("display_data", data={"image/png": png(gradient)}),
                new_output("display_data", data={notebooks.WIDGET_VIEW: {"model_id": widget}}),
            ],
        ),
    ]
    state = {execute.WIDGET_STATE: {"state": {widget: {"model_name": "AnyModel"}}}}
    notebook = new_notebook(cells=cells, metadata={"widgets": state, "colab": {}})
    del notebook.cells[0]["id"]
    return notebook


def test_normal_form_is_clean():
    tidied = execute.normalise(noisy_notebook())
    cell = tidied.cells[1]
    assert set(tidied.metadata) == {"kernelspec", "language_info", "widgets"}
    assert (tidied.cells[0].id, tidied.cells[0].metadata, cell.metadata) == ("cell-000", {}, {})
    assert (cell.source, cell.execution_count, cell.outputs[0].text) == ("print(1)", 1, "1\n2\n")
    assert cell.outputs[2].data[notebooks.WIDGET_VIEW]["model_id"] == f"{0:032x}"
    assert list(tidied.metadata.widgets[execute.WIDGET_STATE]["state"]) == [f"{0:032x}"]


def test_normal_form_is_reached_in_one_step(tmp_path):
    once = notebooks.dumps(execute.normalise(noisy_notebook()))
    notebooks.write(tmp_path / "x.ipynb", once)
    again = notebooks.read(tmp_path / "x.ipynb")
    assert notebooks.dumps(execute.normalise(again)) == once


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_pictures_shrink_without_a_visible_change(mode):
    before = Image.effect_noise((64, 48), 60).convert(mode)
    encoded = execute._small_png(png(before))
    after = Image.open(io.BytesIO(base64.b64decode(encoded))).convert(mode)
    assert len(encoded) <= len(png(before))
    pairs = zip(before.tobytes(), after.tobytes(), strict=True)
    assert max(abs(a - b) for a, b in pairs) <= 12
    assert execute._small_png(encoded) == encoded


def test_trouble_is_found():
    outputs = [
        new_output("stream", name="stderr", text="a warning"),
        new_output("stream", name="stdout", text="saved to /home/me/x.pt"),
        new_output("error", ename="ValueError", evalue="", traceback=["Traceback"]),
    ]
    found = notebooks.trouble(new_notebook(cells=[new_code_cell("", outputs=outputs)]))
    assert len(found) == 3
    assert "stderr: a warning" in found[0]
    assert "error: ValueError" in found[1]
    assert "path of this machine: /home/me/x.pt" in found[2]
    assert notebooks.trouble(new_notebook(cells=[new_code_cell("", outputs=outputs[:0])])) == []


@pytest.mark.parametrize(
    ("stored", "fresh"),
    [
        ("ELBO -100.00 nats", "ELBO -100.05 nats"),
        ("scale 0.012", "scale 0.013"),
        ("difference 3.1e-07", "difference 8.9e-08"),
        ("[1.00, 2.00]", "[1.00, 2.01]"),
        ("−12.3456", "−12.35"),
        ("100 nats", "100.1 nats"),
        ("1e-06", "1.2e-06"),
    ],
)
def test_same_result_on_another_machine(stored, fresh):
    assert Printed(stored) == Printed(fresh)


@pytest.mark.parametrize(
    ("stored", "fresh"),
    [
        ("ELBO -100.00 nats", "ELBO -100.20 nats"),
        ("ELBO -100.00 nats", "ELBO 100.00 nats"),
        ("ELBO -100.00 nats", "KL -100.00 nats"),
        ("7 active units", "8 active units"),
        ("[2000, 784]", "[2001, 784]"),
        ("scale 0.012", "scale 0.014"),
        ("passed: True", "passed: False"),
        ("1.0 2.0", "1.0"),
        ("1.0", "nan"),
        ("v1.2.3", "v1.2.4"),
    ],
)
def test_another_result(stored, fresh):
    assert Printed(stored) != Printed(fresh)


# --- a new chapter --------------------------------------------------------------------------------------


def begin(monkeypatch, tmp_path, name):
    """Begin a chapter in an empty folder."""
    monkeypatch.setattr(sys, "argv", ["new_chapter.py", name])
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    for folder in ("book", "vae_src/exercises", "tests/exercises"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    shutil.copy(CONFIG, tmp_path)
    return new_chapter.main()


def test_a_new_chapter_s_exercises_are_verified(monkeypatch, tmp_path, capsys):
    assert begin(monkeypatch, tmp_path, "beyond/two-words") == 0
    graders, mistakes = (
        runpy.run_path(str(tmp_path / folder / "exercises" / "two_words.py"))
        for folder in ("vae_src", "tests")
    )
    written = notebooks.read(tmp_path / "book" / "beyond" / "two-words.ipynb")
    assert notebooks.dumps(execute.normalise(written)) == notebooks.dumps(written)
    solutions = re.findall(r"```python\n(.*?)```", "\n".join(c.source for c in written.cells), re.S)
    assert len(solutions) == len(mistakes["MISTAKES"]) == 3
    for solution, (label, (wrong,)) in zip(solutions, mistakes["MISTAKES"].items(), strict=True):
        names = {}
        exec(solution, names)
        (answer,) = (value for name, value in names.items() if name.startswith("times"))
        grade = graders[label.replace("ex-", "grade_").replace("-", "_")]
        grade(answer)
        with pytest.raises(AssertionError, match="for x = 3"):
            grade(wrong)
    capsys.readouterr()
    assert begin(monkeypatch, tmp_path, "beyond/two-words") == 1
    assert "Nothing is written: book/beyond/two-words.ipynb" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["", "clinic", "vae/The Clinic", "reference/x", "vae/x/y", "../x"])
def test_a_chapter_that_cannot_be_called_so_is_not_begun(monkeypatch, tmp_path, capsys, name):
    assert begin(monkeypatch, tmp_path, name) == 1
    assert f"“{name}” is not" in capsys.readouterr().out
