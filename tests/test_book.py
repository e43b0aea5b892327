"""The book's pages: what a page must have for its reader to trust it.

How a chapter is written
------------------------
(Notebooks under book/reference are no chapters: they have the set-up cell and the imports, but no frame.)
Cell 1 is Markdown: title, question, picture, "You will be able to". Cell 2 is the set-up cell
(`make sync` writes it). Cell 3 holds all imports, the seed and the style. The last three sections
are "Summary", "Exercises" and "Further reading". Cells are plain Python, without magics.

A figure's cell carries, in its metadata::

    {"mystnb": {"figure": {"caption": "What is drawn. What to see.", "name": "fig-…"},
                "image": {"alt": "The finding."}}}

A labelled equation, ``$$ … $$ (eq-…)``, has its ``check(…, label="eq-…")`` in a code cell.

How an exercise is written: three cells, one after the other
-----------------------------------------------------------
1. Markdown, the task, in a colon fence so that it reads well in Colab, too::

       :::{exercise} A Monte Carlo estimate of the KL
       :label: ex-monte-carlo-kl

       Write `monte_carlo_kl(q, p, num_samples)`, which …
       :::

2. Code, the stub: one or more functions, the last of them the answer, whose body only raises, and
   one call of `attempt`, which prints "not attempted yet", "right", or a hint::

       def monte_carlo_kl(q, p, num_samples):
           \"\"\"Estimate KL(q‖p) in nats from draws of q.\"\"\"
           raise NotImplementedError


       attempt(graders.grade_monte_carlo_kl, monte_carlo_kl)

3. Markdown, the folded solution: the same function, then a sentence on why::

       <details id="sol-monte-carlo-kl">
       <summary>Solution</summary>

       ```python
       def monte_carlo_kl(q, p, num_samples):
           z = q.sample((num_samples,))
           return (q.log_prob(z) - p.log_prob(z)).mean(0)
       ```

       The mean runs over draws …

       </details>

`vae_src/exercises/<chapter>.py` holds `grade_monte_carlo_kl(answer)`, which asserts with hints as
messages, and cell 3 imports it: ``from vae_src.exercises import attempt, <chapter> as graders``.
`tests/exercises/<chapter>.py` holds ``MISTAKES = {"ex-monte-carlo-kl": [wrong_one, …]}``: functions,
each a mistake that readers make, each of which the grader must catch. A stub, a solution and a
mistake may use only what cell 3 imports or defines.
"""

import ast
import importlib.util
import inspect
import re
import statistics
from collections import Counter
from collections.abc import Callable
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import pytest
from pybtex.database import parse_file

import execute
import notebooks
import sync_setup
from vae_src.exercises import attempt
from vae_src.trained import record

ALLOWED_TAGS = {"hide-input", "hide-output", "nbval-ignore-output"}
LABEL = re.compile(r"(?:sec|eq|fig|tbl|def|thm|alg|ex|sol)-[a-z0-9]+(?:-[a-z0-9]+)*")
LABELLED = (
    re.compile(r"^\(([^)\s]+)\)=\s*$", re.M),
    re.compile(r"\$\$\s*\(([^)\s]+)\)\s*$", re.M),
    re.compile(r"^:(?:label|name):\s*(\S+)", re.M),
    re.compile(r"<details id=\"([^\"]+)\""),
)
EQUATION = re.compile(r"\$\$\s*\(([^)\s]+)\)\s*$|^:label:\s*(eq-\S+)", re.M)
CITED = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")
EXERCISE = re.compile(r"^:::\{exercise\}[^\n]*\n:label: (ex-[\w-]+)\n\n.+\n:::$", re.S)
SOLUTION = re.compile(
    r"^<details id=\"(sol-[\w-]+)\">\n<summary>[^\n]+</summary>\n\n"
    r"```python\n(.+?)```\n\n.+\n\n</details>$",
    re.S,
)

PAGES = notebooks.pages()
CHAPTERS = [notebooks.read(path) for path in notebooks.notebook_paths()]
NAMES = [path.stem for path in notebooks.notebook_paths()]
each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=NAMES)
TEACHING = [path.parent.name != "reference" for path in notebooks.notebook_paths()]
each_framed_chapter = pytest.mark.parametrize(
    "chapter", [*compress(CHAPTERS, TEACHING)], ids=[*compress(NAMES, TEACHING)]
)
each_path = pytest.mark.parametrize("path", notebooks.notebook_paths(), ids=NAMES)


def prose(page: Path) -> list[str]:
    """Return a page's Markdown, cell by cell."""
    if page.suffix == ".md":
        return [page.read_text("utf8")]
    return [cell.source for cell in notebooks.read(page).cells if cell.cell_type == "markdown"]


def labels(page: Path) -> list[str]:
    """Return every label that a page defines."""
    found = [label for text in prose(page) for form in LABELLED for label in form.findall(text)]
    if page.suffix == ".ipynb":
        cells = notebooks.read(page).cells
        figures = [cell.metadata.get("mystnb", {}).get("figure", {}) for cell in cells]
        found += [figure["name"] for figure in figures if "name" in figure]
    return found


def checked(chapter: notebooks.NotebookNode) -> set[str]:
    """Return every label that a `check` or `check_at_most` of a chapter names."""
    calls = [
        node
        for cell in notebooks.code_cells(chapter)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call)
    ]
    named = [call for call in calls if getattr(call.func, "id", "") in {"check", "check_at_most"}]
    keywords = [keyword for call in named for keyword in call.keywords]
    return {ast.literal_eval(k.value) for k in keywords if k.arg == "label"}


def all_labels() -> list[str]:
    """Return every label of the book."""
    return [label for page in PAGES for label in labels(page)]


def test_every_page_of_the_contents_exists():
    assert [page.name for page in PAGES if not page.exists()] == []


# --- the notebooks as files ---------------------------------------------------------------------


@each_chapter
def test_outputs_belong_to_the_code(chapter):
    assert notebooks.stored_hash(chapter) == notebooks.code_hash(chapter), "run `make execute`"


@each_path
def test_file_is_in_normal_form(path):
    tidied = notebooks.dumps(execute.normalise(notebooks.read(path)))
    assert tidied == path.read_text("utf8"), "run `make tidy`"


@each_chapter
def test_cells_were_run_in_order(chapter):
    counts = [cell.execution_count for cell in notebooks.code_cells(chapter)]
    assert counts == list(range(1, len(counts) + 1))
    assert len({cell.id for cell in chapter.cells}) == len(chapter.cells), "two cells share an id"


@each_chapter
def test_outputs_hold_no_error_no_stderr_no_machine_path(chapter):
    assert notebooks.trouble(chapter) == []


@each_path
def test_address_of_the_repository_is_copied(path):
    assert sync_setup.synced_notebook(path) == path.read_text("utf8"), "run `make sync`"


@pytest.mark.parametrize("page", sync_setup.PAGES, ids=lambda page: page.name)
def test_address_in_pages_is_copied(page):
    assert sync_setup.synced_page(page) == page.read_text("utf8"), "run `make sync`"


# --- the notebooks as chapters --------------------------------------------------------------------


@each_framed_chapter
def test_chapter_has_its_frame(chapter):
    first, setup, imports = chapter.cells[:3]
    assert first.source.startswith("# ")
    assert "You will be able to" in first.source
    assert notebooks.is_setup(setup)
    assert imports.cell_type == "code"
    text = "\n".join(cell.source for cell in chapter.cells if cell.cell_type == "markdown")
    assert len(re.findall(r"^# ", re.sub(r"```.*?```", "", text, flags=re.S), re.M)) == 1
    last = re.findall(r"^## (.+)$", text, re.M)[-3:]
    assert last == ["Summary", "Exercises", "Further reading"]


@each_chapter
def test_tags_are_known(chapter):
    tags = {tag for cell in chapter.cells for tag in notebooks.tags(cell)}
    assert tags <= ALLOWED_TAGS


@each_chapter
def test_code_cells_are_short(chapter):
    visible = [c for c in notebooks.code_cells(chapter) if "hide-input" not in notebooks.tags(c)]
    lengths = [len(cell.source.splitlines()) for cell in visible]
    assert max(lengths) <= 20, visible[lengths.index(max(lengths))].source
    assert statistics.median(lengths) <= 8


@each_chapter
def test_visible_code_fits_the_column(chapter):
    visible = [c for c in notebooks.code_cells(chapter) if "hide-input" not in notebooks.tags(c)]
    assert [line for c in visible for line in c.source.splitlines() if len(line) > 82] == []


@each_chapter
def test_no_cell_hides_its_result_with_a_semicolon(chapter):
    ends = [cell.source for cell in notebooks.code_cells(chapter) if cell.source.endswith(";")]
    assert ends == [], "nbval runs cells without IPython's history, where a final ; does nothing"


@each_chapter
def test_imports_stand_in_the_imports_cell(chapter):
    for cell in notebooks.code_cells(chapter)[2:]:
        nodes = ast.walk(ast.parse(cell.source))
        assert not any(isinstance(n, ast.Import | ast.ImportFrom) for n in nodes), cell.source


@each_chapter
def test_figures_have_caption_name_and_alt_text(chapter):
    for cell in notebooks.code_cells(chapter):
        pictures = [o for o in cell.outputs if any("image/" in kind for kind in o.get("data", {}))]
        if not pictures:
            continue
        metadata = cell.metadata.get("mystnb", {})
        figure, alt = metadata.get("figure", {}), metadata.get("image", {}).get("alt", "")
        assert len(pictures) == 1, f"one figure a cell:\n{cell.source}"
        assert figure.get("name", "").startswith("fig-"), cell.source
        assert len(figure.get("caption", "").split()) >= 8, cell.source
        assert faults(alt, figure["caption"]) == [], alt


# Where a Markdown page or cell says what a picture shows: a directive's option, an image, or HTML.
MARKDOWN_PICTURE = re.compile(
    r"^[`:]{3,}\{(?:explorer|figure|image)\}[^\n]*\n(?P<options>(?::[^\n]*\n)*)"
    r"|!\[(?P<alt>[^\]]*)\]\([^)]+\)|<img\b(?P<html>[^>]*)>",
    re.M,
)
HOLLOW = re.compile(
    r"(?:an? |the |this )?(?:image|picture|figure|plot|graph|chart|screenshot|still|photo\w*)\b"
    r"[\s\d]*(?:of\b|show|with\b|:)",
    re.I,
)


def faults(alt: str, caption: str = "") -> list[str]:
    """Return what keeps a text from telling the finding to who cannot see the picture."""
    found = {
        "it is shorter than 8 words: say the finding": len(alt.split()) < 8,
        "it is longer than 400 characters: say the finding": len(alt) > 400,
        "it holds a file's name": re.search(r"\.(?:png|svg|jpe?g|gif|webp)\b", alt),
        "it begins with what every picture is": HOLLOW.match(alt),
        "it repeats the caption": alt and (alt in caption or (caption and caption in alt)),
        "it holds mark-up, which is read out": re.search(r"[$`\\]|\{\w+\}|\]\(", alt),
    }
    return [fault for fault, is_there in found.items() if is_there]


def markdown_alts(text: str) -> list[str]:
    """Return the alternative text of each picture that a page's Markdown shows, "" where it has none."""
    shown = re.sub(r"^(`{3,})(.*?)^\1", lambda m: m[0] if m[2][0] == "{" else "", text, flags=re.M | re.S)
    found = []
    for match in MARKDOWN_PICTURE.finditer(shown):
        options, html = match["options"] or "", match["html"] or ""
        said = re.search(r"^:alt: (.+)$", options, re.M) or re.search(r'\balt="([^"]*)"', html)
        found.append(match["alt"] or (said[1] if said else ""))
    return found


@pytest.mark.parametrize(
    ("alt", "caption"),
    [
        ("Two rising curves.", ""),
        ("word " * 100, ""),
        ("The curve of loss.png falls from nine nats to two in ten epochs.", ""),
        ("A figure showing two curves that fall from nine nats to two.", ""),
        ("Image of two curves that both fall from nine nats to two.", ""),
        ("Both curves fall from nine nats to two.", "Both curves fall from nine nats to two. Why?"),
        ("The bound rises to $-\\log 2$ nats within the first ten epochs of training.", ""),
    ],
)
def test_an_alt_text_that_does_not_tell_the_finding_is_a_fault(alt, caption):
    assert len(faults(alt, caption)) == 1
    assert faults("Both curves fall from nine nats to two in ten epochs.", "Two losses.") == []


def test_pictures_in_markdown_are_found_with_their_alt_text():
    text = """![one](a.png) and <img src="b.png" alt="two">, <img src="c.png">

```{explorer} a.ipynb b
:alt: three
:name: c
```

```python
print("![none](d.png)")
```
"""
    assert markdown_alts(text) == ["one", "two", "", "three"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_pictures_in_markdown_have_alt_text(path):
    alts = [alt for text in prose(path) for alt in markdown_alts(text)]
    assert [(alt, faults(alt)) for alt in alts if faults(alt)] == []


def test_no_two_pictures_have_the_same_alt_text():
    metadata = [cell.metadata.get("mystnb", {}) for c in CHAPTERS for cell in notebooks.code_cells(c)]
    alts = [m["image"]["alt"] for m in metadata if "image" in m]
    alts += [alt for path in PAGES for text in prose(path) for alt in markdown_alts(text)]
    assert len(alts) > 80
    assert [alt for alt, times in Counter(alts).items() if times > 1] == []


@each_chapter
def test_every_explorer_has_its_state_and_a_still_picture(chapter):
    state = chapter.metadata.get("widgets", {}).get(execute.WIDGET_STATE, {}).get("state", {})
    for cell in notebooks.code_cells(chapter):
        for data in (
            output.data for output in cell.outputs if notebooks.WIDGET_VIEW in output.get("data", {})
        ):
            model = state[data[notebooks.WIDGET_VIEW]["model_id"]]  # a KeyError: run `make execute`
            alive = model["model_name"] == "AnyModel"
            assert ("image/png" in data) == alive, f"run `make execute`:\n{cell.source}"


# --- labels and references --------------------------------------------------------------------------


def test_labels_are_well_formed_and_unique():
    found = all_labels()
    assert [label for label in found if not LABEL.fullmatch(label)] == []
    assert [label for label, times in Counter(found).items() if times > 1] == []


def test_every_labelled_equation_is_checked():
    named = set().union(*map(checked, CHAPTERS))
    matches = [m for page in PAGES for text in prose(page) for m in EQUATION.finditer(text)]
    equations = {match.group(1) or match.group(2) for match in matches}
    assert {label for label in equations if not label.startswith("eq-")} == set()
    assert equations - named == set(), "no check(…, label=…) names these equations"


def test_every_label_named_by_a_check_exists():
    assert set().union(*map(checked, CHAPTERS)) - set(all_labels()) == set()


def test_labels_in_docstrings_exist():
    for path in (notebooks.ROOT / "vae_src").rglob("*.py"):
        for line in re.findall(r"In the book: ([^\n]+)", path.read_text("utf8")):
            named = set(LABEL.findall(line))
            assert named, f"{path.name}: “In the book: {line}” names no label"
            assert named <= set(all_labels()), f"{path.name}: {line}"


def test_citations_and_bibliography():
    entries = parse_file(notebooks.ROOT / "book" / "references.bib").entries
    cited = {
        key.strip()
        for page in PAGES
        for text in prose(page)
        for keys in CITED.findall(text)
        for key in keys.split(",")
    }
    assert cited - set(entries) == set()
    for key, entry in entries.items():
        assert "author" in entry.persons, key
        assert {"title", "year"} <= set(entry.fields), key
        assert {"doi", "eprint", "url", "isbn"} & set(entry.fields), f"{key}: where is it found?"


def test_readme_quotes_what_was_measured():
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf8")
    path = Path(__file__).parents[1] / "book/vae/variational-autoencoder.ipynb"
    outputs = "".join(notebooks.output_text(cell) for cell in notebooks.code_cells(notebooks.read(path)))
    short = re.search(r"ELBO     = -([\d.]+) ± ([\d.]+) nats", outputs)
    assert short, "the chapter prints its test ELBO"
    long = record("mnist-mlp")["metrics"]["elbo"]
    for mean, error in [map(float, short.groups()), (-long["mean"], long["standard_error"])]:
        assert f"−{mean:.1f} ± {error:.1f}" in readme
    table = record("iwae-table1-k1-seed0")
    first_row = table["metrics"]["log_marginal_5000"]
    assert f"{-first_row['mean']:.2f} ± {first_row['standard_error']:.2f}" in readme
    assert f"{table['row']['epochs']:,} of the 3,280 epochs" in readme


# --- exercises ----------------------------------------------------------------------------------------


def exercises(chapter: notebooks.NotebookNode) -> list[tuple[str, str, str]]:
    """Return label, stub cell and solution of each exercise of a chapter."""
    found = []
    for index, cell in enumerate(chapter.cells):
        if cell.cell_type == "markdown" and "{exercise}" in cell.source:
            stub, folded = chapter.cells[index + 1 : index + 3]
            task, solution = EXERCISE.match(cell.source), SOLUTION.match(folded.source)
            assert task, f"an exercise's text looks otherwise, see the top of this file:\n{cell.source}"
            assert stub.cell_type == "code", f"after {task[1]} comes its stub"
            assert solution, f"a solution looks otherwise, see the top of this file:\n{folded.source}"
            assert solution[1].removeprefix("sol-") == task[1].removeprefix("ex-")
            found.append((task[1], stub.source, solution[2]))
    return found


EXERCISES = [
    pytest.param(path.stem, chapter, *exercise, id=exercise[0])
    for path, chapter in zip(notebooks.notebook_paths(), CHAPTERS, strict=True)
    for exercise in exercises(chapter)
]
each_exercise = pytest.mark.parametrize(("name", "chapter", "label", "stub", "solution"), EXERCISES)


class Exercise(NamedTuple):
    """An exercise, ready to be graded."""

    grade: Callable[[Callable], None]
    stub: Callable
    solution: Callable


def run_exercise(chapter: notebooks.NotebookNode, stub: str, solution: str) -> Exercise:
    """Define stub and solution as the notebook does, with nothing but the imports cell before."""
    *definitions, last = ast.parse(stub).body
    assert all(isinstance(node, ast.FunctionDef) for node in definitions), "a stub is functions only"
    assert isinstance(last, ast.Expr)
    assert isinstance(last.value, ast.Call)
    assert ast.unparse(last.value.func) == "attempt", "a stub ends in attempt(grader, answer)"
    grader, answer = map(ast.unparse, last.value.args)
    before: dict = {"__name__": "exercise"}
    exec(chapter.cells[2].source, before)
    with_stub, with_solution = dict(before), dict(before)
    exec(ast.unparse(ast.Module(definitions, [])), with_stub)
    exec(solution, with_solution)
    return Exercise(eval(grader, before), with_stub[answer], with_solution[answer])


def mistakes(name: str) -> dict[str, list[Callable]]:
    """Return the typical mistakes of a chapter's exercises, by label."""
    path = Path(__file__).parent / "exercises" / f"{name.replace('-', '_')}.py"
    spec = importlib.util.spec_from_file_location(f"mistakes_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MISTAKES


@each_framed_chapter
def test_chapter_has_three_to_six_exercises(chapter):
    assert 3 <= len(exercises(chapter)) <= 6


@pytest.mark.parametrize(
    "path", [*compress(notebooks.notebook_paths(), TEACHING)], ids=lambda path: path.stem
)
def test_every_exercise_has_mistakes_and_no_other_label_has(path):
    labelled = [label for label, _, _ in exercises(notebooks.read(path))]
    assert sorted(mistakes(path.stem)) == sorted(labelled)


@each_exercise
def test_stub_is_not_attempted(name, chapter, label, stub, solution, capsys):
    exercise = run_exercise(chapter, stub, solution)
    assert exercise.grade.__name__ == label.replace("ex-", "grade_", 1).replace("-", "_")
    attempt(exercise.grade, exercise.stub)
    assert capsys.readouterr().out.startswith(f"○ {label}: not attempted yet")
    assert inspect.signature(exercise.stub) == inspect.signature(exercise.solution)
    assert exercise.stub.__doc__, "a stub says what to return"


@each_exercise
def test_solution_passes(name, chapter, label, stub, solution, capsys):
    exercise = run_exercise(chapter, stub, solution)
    attempt(exercise.grade, exercise.solution)
    assert capsys.readouterr().out == f"✓ {label}: right.\n"


@each_exercise
def test_typical_mistakes_are_caught(name, chapter, label, stub, solution, capsys):
    exercise = run_exercise(chapter, stub, solution)
    assert mistakes(name)[label], "name at least one mistake that readers make"
    for wrong in mistakes(name)[label]:
        attempt(exercise.grade, wrong)
        hint = capsys.readouterr().out
        assert hint.startswith(f"✗ {label}: "), f"{wrong.__name__} was not caught: {hint}"
        assert len(hint.split()) >= 6, f"{wrong.__name__}: the hint should help: {hint}"
