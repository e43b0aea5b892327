"""The printed book: nothing of the pages is lost, each number is the site's, LaTeX's mumbling is heard."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from docutils import nodes

import notebooks
import pdf
import printed

FOLD = re.compile(r"<details(?: id=\"([^\"]+)\")?>\s*<summary>(.*?)</summary>(.*?)</details>", re.S)
CODE = re.compile(r"^```.*?^```$", re.M | re.S)
WORDS = re.compile(r"[A-Za-z, ]{25,}")  # long enough to be told apart, and the same in Markdown and in LaTeX


def folds() -> list[tuple[str, str, str]]:
    """Return the id, the title and the text of all that the pages fold away."""
    cells = [cell for path in notebooks.notebook_paths() for cell in notebooks.read(path).cells]
    return [found for cell in cells if cell.cell_type == "markdown" for found in FOLD.findall(cell.source)]


# --- the tool ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("! Undefined control sequence.", "LaTeX stops"),
        ('Missing character: There is no ∮ (U+222E) in font "DejaVuSansMono"!', "a letter is missing"),
        ("LaTeX Warning: Reference `eq' on page 3 undefined on input line 7.", "a reference leads nowhere"),
        (
            "LaTeX Warning: Hyper reference `eq' on page 3 undefined on input line 7.",
            "a reference leads nowhere",
        ),
        ("LaTeX Warning: Label `fig' multiply defined.", "two things have one name"),
        ("LaTeX Warning: Float too large for page by 54.0pt on input line 9.", "a figure is higher than"),
        (r"Overfull \hbox (4.6pt too wide) in paragraph at lines 9--12", "something runs into the margin"),
        (r"Overfull \vbox (209.6pt too high) has occurred while \output is active []", "something runs into"),
    ],
)
def test_what_a_reader_would_stumble_over_is_heard(line: str, meaning: str):
    (found,) = pdf.complaints(f"This is XeTeX\n{line}\n[1] [2]\n")
    assert found.startswith(meaning)
    assert line in found


def test_what_nobody_sees_is_no_complaint():
    log = "Overfull \\hbox (3.9pt too wide) in paragraph\nOverfull \\vbox (26.6pt too high) has occurred\n"
    assert pdf.complaints(log) == []


def test_numbers_are_compared_with_the_sites(tmp_path: Path):
    site = {"equation:book/a:eq-one": "1.1", "book/a:fig-two": "1.2", "book/a:ex-three": "1.3"}
    (tmp_path / "numbers.json").write_text(json.dumps(site))
    assert len(pdf.wrong_numbers(tmp_path)) == 3  # LaTeX wrote nothing
    aux = tmp_path / f"{pdf.NAME}.aux"
    lines = [
        r"\newlabel{equation:book/a:eq-one}{{1.1}{2}{A}{equation.1.1}{}}",
        r"\newlabel{book/a:fig-two}{{1.2}{2}{A {\it caption}}{figure.1.2}{}}",
        r"\newlabel{book/a:ex-three}{{1.3}{3}{}{section*.1}{}}",
    ]
    aux.write_text("\n".join(lines))
    assert pdf.wrong_numbers(tmp_path) == []
    aux.write_text("\n".join(lines).replace("{1.2}", "{1.4}"))
    assert pdf.wrong_numbers(tmp_path) == ["book/a:fig-two is 1.4 in print and 1.2 on the site"]


def test_without_latex_one_sentence_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(pdf, "write_latex", lambda output: pytest.fail("nothing is to be built"))
    assert pdf.main() == 1
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert f"apt-get install --no-install-recommends {pdf.PACKAGES}" in said
    assert "MacTeX" in said
    assert "MiKTeX" in said


def test_a_font_that_is_not_there_is_named(monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(pdf, "_output", lambda command: "" if "DejaVu" in command[1] else "/a/file\n")
    assert pdf.missing() == ["DejaVuSansMono.ttf"]


def test_when_sphinx_fails_its_own_words_are_enough(monkeypatch, capsys):
    def fail(output: Path) -> Path:
        raise subprocess.CalledProcessError(1, "jupyter-book")

    monkeypatch.setattr(pdf, "missing", list)
    monkeypatch.setattr(pdf, "write_latex", fail)
    assert pdf.main() == 1
    assert capsys.readouterr().err.strip().endswith("what is wrong stands above")


def test_a_long_table_may_be_cut_into_pages():
    def table(count: int) -> nodes.table:
        rows = [
            nodes.row("", *(nodes.entry("", nodes.paragraph("", text)) for text in ("x", "a word " * 10)))
            for _ in range(count)
        ]
        columns = [nodes.colspec(colwidth=1), nodes.colspec(colwidth=1)]
        return nodes.table("", nodes.tgroup("", *columns, nodes.tbody("", *rows)))

    short, long = table(printed.LONG_TABLE - 1), table(printed.LONG_TABLE)
    for each in (short, long):
        printed._set_table(each)
    assert short["classes"] == []
    assert long["classes"] == ["colwidths-given", "longtable"]
    narrow, wide = (column["colwidth"] for column in long.findall(nodes.colspec))
    assert narrow < wide


# --- the whole book ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def latex(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the book as LaTeX, for which no LaTeX is needed."""
    return pdf.write_latex(tmp_path_factory.mktemp("printed"))


@pytest.fixture(scope="module")
def text(latex: Path) -> str:
    """Return the book as LaTeX."""
    return (latex / f"{pdf.NAME}.tex").read_text("utf8")


@pytest.mark.slow
def test_what_the_site_folds_is_in_print(text: str):
    opened = re.findall(r"\\begin\{bookfold\}\{(.*)\}\n", text)
    assert opened == [title for name, title, _ in folds() if not name]
    solutions = [name for name, _, _ in folds() if name.startswith("sol-")]
    assert len(solutions) > 40
    words = [run for _, _, body in folds() for run in WORDS.findall(CODE.sub("", body))]
    assert len(words) > 100
    assert [run for run in words if run.strip() not in text] == []
    back = text[text.index(r"\chapter{Solutions}") :]
    for name in solutions:
        assert re.search(rf"\\label\{{\\detokenize\{{book/[\w/-]+:{name}\}}\}}", back), name
        assert re.search(rf"\\pageref\{{\\detokenize\{{book/[\w/-]+:{name}\}}\}}", text), name


@pytest.mark.slow
def test_each_figure_is_there_with_its_number(latex: Path, text: str):
    site = json.loads((latex / "numbers.json").read_text("utf8"))
    numbers = {label: n for label, n in site.items() if not re.search(r"^equation:|:(?:ex|thm)-", label)}
    assert len(numbers) > 80
    assert re.findall(r"\\bookfigure\{(.*)\}", text) == list(numbers.values())
    assert text.count(r"\caption{") == len(numbers)
    for picture in re.findall(r"\\sphinxincludegraphics(?:\[.*?\])?\{\{(.*?)\}\.(\w+)\}", text):
        assert (latex / ".".join(picture)).exists()


@pytest.mark.slow
def test_nothing_stands_in_print_that_only_a_screen_can_show(text: str):
    for trace in ("<script", "<div", "<details", "</", "widget-view", "google.colab", "VBox(children", "○"):
        assert trace not in text.replace(r"\PYGZlt{}", "<"), trace
    assert text.count(printed.KERNEL) == 1


@pytest.mark.slow
@pytest.mark.skipif(bool(pdf.missing()), reason=pdf.ADVICE.format(", ".join(pdf.missing())))
def test_latex_sets_the_whole_book_without_a_complaint(latex: Path):
    pdf.draw_cover(latex)
    log = pdf.typeset(latex)
    assert pdf.complaints(log) == []
    assert pdf.wrong_numbers(latex) == []
    assert int(pdf.PAGES.search(log)[1]) > 200
    assert (latex / f"{pdf.NAME}.pdf").stat().st_size < 15e6
