"""The Colab edition: each construct in a small notebook, then the editions of the built site."""

import copy
import functools
import html
import re
from pathlib import Path
from urllib.parse import unquote, urldefrag

import nbformat
import pytest
from conftest import listen
from markdown_it import MarkdownIt
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from test_site import SITE, page

import colab
import formulas
import notebooks

HOME = "https://book.example/"
PAGE = "book/part/one"


def record(name: str, value: object):
    """Return the output by which `glue` stores a value."""
    metadata = {"scrapbook": {"name": name, "mime_prefix": colab.RECORD}}
    return new_output("display_data", data={f"{colab.RECORD}text/plain": repr(value)}, metadata=metadata)


GLUED = {PAGE: {"loss": 0.12345, "n": 7, "who": "a digit"}, "book/two": {"far": 1.5}}
SMALL = colab.Site(
    title="A Book",
    address=HOME,
    pages={
        PAGE: colab.Page("book/part/one.html", "One", ["1", "1.1", "1.2"]),
        "book/two": colab.Page("book/two.html", "Two", []),
    },
    labels={
        "eq-a": colab.Place("book/part/one.html#equation-eq-a", "1.1"),
        "sec-a": colab.Place("book/part/one.html#sec-a", ""),
        "fig-a": colab.Place("book/part/one.html#fig-a", "1.3"),
        "ex-a": colab.Place("book/part/one.html#ex-a", "1.4"),
        "thm-a": colab.Place("book/part/one.html#thm-a", "1.5"),
    },
    works={
        "k1": colab.Work("book/bib.html#id1", "Kingma and Welling", "2014"),
        "b1": colab.Work("book/bib.html#id2", "Burda et al.", "2016"),
    },
    glued=GLUED.__getitem__,
)


def plain(text: str) -> str:
    """Return a text of the small page in plain Markdown."""
    return colab.Markdown(SMALL, PAGE).convert(text)


LINKED = f"({HOME}book/part/one.html"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{glue:text}`loss:.2f` of {glue:text}`n`", "0.12 of 7"),
        ("{glue:text}`who`, {glue:text}`../two.ipynb::far:.2f`", "a digit, 1.50"),
        ("By {cite:t}`k1`.", f"By [Kingma and Welling (2014)]({HOME}book/bib.html#id1)."),
        ("It is {cite}`b1`.", f"It is ([Burda et al., 2016]({HOME}book/bib.html#id2))."),
        (
            "{cite:p}`b1, k1`",
            f"([Burda et al., 2016]({HOME}book/bib.html#id2); "
            f"[Kingma and Welling, 2014]({HOME}book/bib.html#id1))",
        ),
        ("[the bound](#eq-a).", f"the bound [(1.1)]{LINKED}#equation-eq-a)."),
        ("[](#eq-a)", f"[(1.1)]{LINKED}#equation-eq-a)"),
        ("[a $p[x]$ `b`](#sec-a)", f"[a $p[x]$ `b`]{LINKED}#sec-a)"),
        ("[{glue:text}`n` dots](#fig-a)", f"[7 dots]{LINKED}#fig-a)"),
        ("[two](../two.md), [](../two.ipynb)", f"[two]({HOME}book/two.html), [Two]({HOME}book/two.html)"),
        ("[part](one.ipynb#sec-a)", f"[part]{LINKED}#sec-a)"),
        ("[web](https://example.org/a_b)", "[web](https://example.org/a_b)"),
        ("$$ a = b $$ (eq-a)", "$$ a = b \\tag{1.1} $$"),
        (
            "so\n\n$$\n\\begin{aligned}\na &= b \\\\\n&= c\n\\end{aligned}\n$$ (eq-a)\n\nend",
            "so\n\n$$\n\\begin{aligned}\na &= b \\\\\n&= c\n\\end{aligned} \\tag{1.1}\n$$\n\nend",
        ),
        ("$$ a $$\n\n(In words, $b$.)", "$$ a $$\n\n(In words, $b$.)"),
        ("(sec-a)=\n## A\n\n### B\n\n## C", "## 1.1. A\n\n### B\n\n## 1.2. C"),
        ("# One", "# 1. One"),
        (
            ":::{exercise} Of {glue:text}`n`\n:label: ex-a\n\nShow [it](#eq-a).\n\n- one\n:::",
            f"### Exercise 1.4: Of 7\n\nShow it [(1.1)]{LINKED}#equation-eq-a).\n\n- one",
        ),
        (
            "```{prf:theorem} Bound\n:label: thm-a\n\nLet $d < D$.\n```\n\nthen",
            "**Theorem 1.5 (Bound).** Let $d < D$.\n\nthen",
        ),
        ("`{cite}` and `[a](#b)` and $f{x}`y`$", "`{cite}` and `[a](#b)` and $f{x}`y`$"),
        ("```python\n# A\nx = {cite}`k`\n(sec-a)=\n```", "```python\n# A\nx = {cite}`k`\n(sec-a)=\n```"),
        (
            "<details>\n<summary>Why</summary>\n\nBy [it](#eq-a).\n\n</details>",
            f"<details>\n<summary>Why</summary>\n\nBy it [(1.1)]{LINKED}#equation-eq-a).\n\n</details>",
        ),
        ("| a | b |\n|---|---|\n| $x$ | {glue:text}`n` |", "| a | b |\n|---|---|\n| $x$ | 7 |"),
    ],
)
def test_construct_becomes_plain_markdown(source, expected):
    assert plain(source) == expected


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{ref}`sec-a`", "the role 'ref'"),
        ("{glue:text}`gone:.2f`", "no cell glues 'gone'"),
        ("{cite}`nobody`", "the bibliography has no 'nobody'"),
        ("[x](#eq-gone)", "the book has no label 'eq-gone'"),
        ("$$ a $$ (eq-gone)", "the book has no label 'eq-gone'"),
        ("(sec-gone)=\n## A", "the book has no label 'sec-gone'"),
        ("[x](three.ipynb)", "the book has no page 'three.ipynb'"),
        (":::{note}\nx\n:::", "the directive 'note'"),
        ("```{figure} x.png\n```", "the directive 'figure'"),
        (":::{exercise} A\n:label: ex-a\n:class: b\n\nx\n:::", "options other than a label"),
        ("![alt](picture.png)", r"\]\(picture.png\)' has no form"),
        ("{{ name }}", "has no form"),
        ("% a remark", "'% a remark' has no form"),
        (":::{exercise} A\n:label: ex-a\n\nnever closed", "has no form"),
        ("<details>\n<summary>Why</summary>\nx\n\n</details>", "</summary>' has no form"),
    ],
)
def test_what_has_no_form_in_colab_is_refused(source, words):
    notebook = new_notebook(cells=[new_markdown_cell("fine"), new_markdown_cell(source)])
    with pytest.raises(colab.Trouble, match=f"^book/part/one.ipynb, cell 2: .*{words}"):
        colab.convert(notebook, PAGE, SMALL)


def small_notebook():
    """Return a notebook with every kind of cell and output that the book has."""
    view = {notebooks.WIDGET_VIEW: {"model_id": "0"}, "text/plain": "A()"}
    figure = {"mystnb": {"figure": {"caption": "Loss, {glue:text}`n`.", "name": "fig-a"}}}
    cells = [
        new_markdown_cell("# One", id="title"),
        new_code_cell(
            notebooks.setup_source(), id="setup", metadata={"tags": ["hide-input"]}, execution_count=1
        ),
        new_code_cell("plot()", id="plot", metadata={"tags": ["hide-input"], **figure}, execution_count=2),
        new_code_cell("x", id="rest", metadata={"tags": ["hide-input", "nbval-ignore-output"]}),
    ]
    cells[2].outputs = [
        new_output("stream", text="drawn\n"),
        new_output("execute_result", data={**view, "image/png": "AAAA"}, execution_count=2),
    ]
    cells[3].outputs = [
        record("n", 7),
        new_output("execute_result", data=view),
        new_output("execute_result", data={"text/markdown": "By [it](#eq-a)", "text/plain": "it"}),
    ]
    return new_notebook(cells=cells, metadata={"widgets": {"a": 1}, "vae_book": {"code_sha256": "0"}})


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ("with noise(0):\n    b, a = draw()\n_ = a.sum()\na = 2", "Code of b, a"),
        ("k = 1\n\n\ndef f(x):\n    y = x\n    return y\n\n\nclass G:\n    z = 1", "Code of f, G"),
        ("a = b = c = d = 0", "Code of a, b, c, …"),
        ("for k in n:\n    glue(k, n[k])", "Numbers for the text"),
    ],
)
def test_folded_code_is_named_by_what_it_makes(source, title):
    assert colab._makes(source) == title


def test_edition_of_a_small_notebook():
    notebook = small_notebook()
    before = copy.deepcopy(notebook)
    edition = colab.convert(notebook, PAGE, SMALL)
    assert notebook == before
    nbformat.validate(edition)
    hello, setup, title, plot, caption, rest = edition.cells
    assert hello.source.startswith(f"[1. One]{LINKED}), from the book [A Book]({HOME}).")
    assert (title.source, caption.source) == ("# 1. One", "**Fig. 1.3.** Loss, 7.")
    folded = {cell.id: cell.source.partition("\n") for cell in (setup, plot, rest)}
    assert [first for first, _, _ in folded.values()] == [
        "#@title Set up: run this cell first",
        "#@title Code of Fig. 1.3",
        "#@title Numbers for the text",
    ]
    assert folded["setup"][2] == notebooks.setup_source()
    assert [c.metadata for c in edition.cells if c.cell_type == "code"] == [
        {"cellView": "form", "id": name} for name in folded
    ]
    assert [set(o.get("data", {"stream"})) for o in plot.outputs] == [{"stream"}, {"image/png", "text/plain"}]
    (table,) = rest.outputs
    assert table.data["text/markdown"] == f"By it [(1.1)]{LINKED}#equation-eq-a)"
    assert edition.metadata.colab == {"name": "one.ipynb", "provenance": [], "toc_visible": True}
    assert set(edition.metadata) == {"colab", "kernelspec", "language_info"}


def test_glued_values_are_those_of_the_records():
    cell = new_code_cell("", outputs=[record("a", 1.5), record("b", "x"), new_output("stream", text="c")])
    assert colab.glued(new_notebook(cells=[cell])) == {"a": 1.5, "b": "x"}


# --- the built site ---------------------------------------------------------------------------------

NAMES = [p.relative_to(notebooks.ROOT).with_suffix("").as_posix() for p in notebooks.notebook_paths()]
each_edition = pytest.mark.parametrize("name", NAMES)


@functools.cache
def edition(name: str) -> notebooks.NotebookNode:
    """Return the edition of a page, from the built site."""
    path = SITE / colab.path(name)
    if not path.exists():
        pytest.fail(f"{colab.path(name)} is not built; run `make book` first", pytrace=False)
    return notebooks.read(path)


def source(name: str) -> notebooks.NotebookNode:
    """Return the notebook of a page."""
    return notebooks.read(notebooks.ROOT / f"{name}.ipynb")


def texts(name: str) -> list[str]:
    """Return an edition's Markdown, cell by cell."""
    return [cell.source for cell in edition(name).cells if cell.cell_type == "markdown"]


def without_code(text: str) -> str:
    """Return a text without listings, code in lines and formulas."""
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.S | re.M)
    return re.sub(r"`[^`]*`|\$\$.*?\$\$|\$[^$]*\$", "", text, flags=re.S)


@each_edition
def test_edition_is_a_valid_notebook_and_the_set_up_cell_comes_first(name):
    nbformat.validate(edition(name))
    hello, setup, title, *_ = edition(name).cells
    assert "\n" not in hello.source
    assert setup.source == f"#@title Set up: run this cell first\n{notebooks.setup_source()}"
    assert title.source.startswith("# ")


@each_edition
def test_edition_keeps_code_and_printed_outputs(name):
    def ran(notebook):
        cells = [c for c in notebooks.code_cells(notebook) if c.id != "setup"]
        printed = [[o.text for o in c.outputs if o.output_type == "stream"] for c in cells]
        return [(c.id, re.sub(r"^#@title .*\n", "", c.source)) for c in cells], printed

    assert ran(edition(name)) == ran(source(name))


@each_edition
def test_nothing_of_myst_is_left(name):
    text = without_code("\n\n".join(texts(name)))
    assert re.findall(r"\{[\w:]+\}|^\([\w-]+\)=|:::|^:\w+:|\]\(#|\.ipynb\)", text, re.M) == []
    data = [o.data for c in notebooks.code_cells(edition(name)) for o in c.outputs if "data" in o]
    assert [kind for kinds in data for kind in kinds if "widget" in kind or "papermill" in kind] == []
    assert "widgets" not in edition(name).metadata


@each_edition
def test_edition_shows_the_glued_values_of_the_site(name):
    told = re.findall(r'<span class="pasted-text">([^<]*)</span>', page(f"{name}.html").text)
    written = len(re.findall(r"\{glue:text\}`", "\n".join(c.source for c in source(name).cells)))
    captions = [c.metadata.get("mystnb", {}).get("figure", {}).get("caption", "") for c in source(name).cells]
    assert len(told) == written + sum("{glue" in caption for caption in captions)
    text = "\n".join(texts(name))
    assert [value for value in told if html.unescape(value) not in text] == []


@each_edition
def test_equations_figures_and_exercises_have_the_numbers_of_the_site(name):
    text, site = "\n\n".join(texts(name)), page(f"{name}.html").text
    equations = re.findall(r'<span class="eqno">\((\d+\.\d+)\)', site)
    assert re.findall(r"\\tag\{(.+?)\}", text) == equations
    for kind, pattern in [("Fig.", r"^\*\*Fig\. (.+?)\.\*\*"), ("Exercise", r"^### Exercise (\S+):")]:
        numbers = re.findall(rf'<span class="caption-number">{kind} ([\d.]+) </span>', site)
        assert re.findall(pattern, text, re.M) == numbers
    sections = re.findall(r'<h[12]><span class="section-number">([\d.]+) </span>', site)
    assert re.findall(r"^##? ([\d.]+) ", without_code(text), re.M) == sections


@each_edition
def test_citations_read_as_on_the_site(name):
    site = html.unescape(re.sub(r"<[^>]+>", "", page(f"{name}.html").text))
    cited = re.findall(r"\[([^\]]+?),? \(?(\d{4})\)?\]\([^)]*bibliography", "\n".join(texts(name)))
    assert len(cited) >= ("/reference/" not in name)
    assert [work for work in cited if not re.search("{},? \\[?{}".format(*map(re.escape, work)), site)] == []


@each_edition
def test_links_of_editions_lead_to_the_site(name):
    home = notebooks.site_url()
    links = re.findall(r"\]\((\S+?)\)", without_code("\n\n".join(texts(name))))
    assert links
    for link in links:
        target, anchor = urldefrag(unquote(link))
        assert target.startswith("https://"), link
        if target.startswith(home):
            path = target.removeprefix(home) or "index.html"
            assert (SITE / path).exists(), link
            assert not anchor or anchor in page(path).ids, link


@pytest.mark.parametrize(
    "name", [str(p.relative_to(notebooks.ROOT).with_suffix("")) for p in notebooks.pages()]
)
def test_button_opens_the_edition(name):
    opening = [link for link in page(f"{name}.html").links if "colab.research.google.com" in link]
    editions = [link for link in opening if "/github/" in link]
    start = notebooks.repository_url().replace("github.com", "colab.research.google.com/github")
    for link in editions:
        branch, _, path = link.removeprefix(f"{start}/blob/").partition("/")
        assert branch == "gh-pages"
        assert (SITE / path).exists()
    if name in NAMES:
        assert [link.endswith(colab.path(name)) for link in editions] == [True]


LIKE_COLAB = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Edition</title>
<style>body {{ font: 16px/1.5 sans-serif; max-width: 60rem; margin: 1rem auto; }} img {{ max-width: 100% }}
table {{ border-collapse: collapse }} td, th {{ border: 1px solid #ccc; padding: 4px 8px }}
pre {{ background: #f3f3f3; padding: 8px; overflow: auto }} .form {{ background: #eef; padding: 8px }}</style>
<script>MathJax = {{tex: {{inlineMath: [["$", "$"]]}}}}</script>
<script src="{mathjax}"></script><body>{body}</body></html>"""


def like_colab(notebook: notebooks.NotebookNode) -> str:
    """Return a page that shows a notebook about as Colab does."""
    markdown = MarkdownIt("commonmark").enable("table")
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(rendered(markdown, cell.source))
            continue
        title = re.match(r"#@title (.*)", cell.source)
        folded = (
            f'<div class="form">▸ {title[1]}</div>' if title else f"<pre>{html.escape(cell.source)}</pre>"
        )
        parts.append(folded)
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                parts.append(f'<img alt="" src="data:image/png;base64,{data["image/png"]}">')
            elif "text/markdown" in data:
                parts.append(rendered(markdown, data["text/markdown"]))
            else:
                parts.append(f"<pre>{html.escape(output.get('text', data.get('text/plain', '')))}</pre>")
    mathjax = (formulas.mathjax() / "tex-chtml.js").as_uri()
    return LIKE_COLAB.format(mathjax=mathjax, body="\n".join(parts))


def rendered(markdown: MarkdownIt, text: str) -> str:
    """Return a text as HTML; formulas are kept from Markdown, as notebook programs keep them."""
    formulas: list[str] = []

    def aside(match: re.Match[str]) -> str:
        formulas.append(match.group())
        return f"\N{OBJECT REPLACEMENT CHARACTER}{len(formulas) - 1}\N{OBJECT REPLACEMENT CHARACTER}"

    pieces = re.split(r"(^ *```.*?^ *```|`[^`\n]*`)", text, flags=re.S | re.M)
    pieces[::2] = [re.sub(r"\$\$.+?\$\$|\$[^$]+?\$", aside, piece, flags=re.S) for piece in pieces[::2]]
    mark = re.compile("\N{OBJECT REPLACEMENT CHARACTER}(\\d+)\N{OBJECT REPLACEMENT CHARACTER}")
    return mark.sub(lambda m: html.escape(formulas[int(m[1])]), markdown.render("".join(pieces)))


@each_edition
def test_every_formula_of_an_edition_can_be_set(browser, tmp_path, name):
    path: Path = tmp_path / "edition.html"
    path.write_text(like_colab(edition(name)), "utf8")
    tab, trouble = browser.new_page(), []
    listen(tab, trouble)
    tab.goto(path.as_uri())
    tab.evaluate("MathJax.startup.promise")
    tags = re.findall(r"\\tag\{(.+?)\}", "\n\n".join(texts(name)))
    wrong = tab.locator('mjx-merror, mjx-container [style*="color: red"]')
    assert wrong.count() == 0, wrong.first.evaluate("node => node.outerHTML")
    assert tab.locator("mjx-labels").count() == len(tags)
    body = tab.evaluate(
        "[...document.querySelectorAll('body > :not(pre)')].map(e => e.innerText).join('\\n')"
    )
    assert "$$" not in body
    folded = tab.locator("details").count()
    assert folded == len(re.findall("^<details", "\n\n".join(texts(name)), re.M))
    tab.close()
    assert trouble == []
