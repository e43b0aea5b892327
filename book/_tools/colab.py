"""The Colab edition: each notebook in plain Markdown, as it opens in Google Colab.

Colab knows no MyST, keeps no captions and shows no stored explorer. So the build writes a second form of each
notebook into the site, under ``colab/``: roles and directives become Markdown, with the site's numbers and
links to the site; captions become text; exercises get headings, by which Colab folds them; the set-up cell
comes first. What has no form here stops the build, in one sentence that names the notebook and the cell.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import notebooks
from notebooks import WIDGET_VIEW

RECORD = "application/papermill.record/"

PIECE = re.compile(
    r"""
    ^[ ]*(?P<ticks>`{3,})(?!`|\{).*?^[ ]*(?P=ticks)[ ]*$                        # a listing: as it is
  | ^(?P<marks>:{3,}|`{3,})\{(?P<directive>[^}]*)\}[ ]*(?P<argument>[^\n]*)\n(?P<body>.*?)^(?P=marks)[ ]*$\n*
  | \{(?P<role>[a-z][\w:+.-]*)\}`(?P<content>[^`]+)`
  | (?P<tick>`+)(?!`).+?(?<!`)(?P=tick)(?!`)                                    # code in a line: as it is
  | \$\$(?P<formula>.+?)\$\$(?:[ ]*\((?P<equation>[\w-]+)\)[ ]*$)?
  | (?P<inline>\$(?:[^$\n]|\n(?!\n))+\$)                                         # as it is
  | ^\((?P<target>[\w-]+)\)=[ ]*(?:\n|\Z)
  | ^(?P<level>\#{1,2})[ ]+
  | (?<!!)\[(?P<words>(?:\$[^$]*\$|[^\[\]$]|\[[^\[\]]*\])*)\]\((?P<link>[^()\s]+)\)
    """,
    re.M | re.S | re.X,
)
# What must not be left, outside code and formulas.
LEFTOVER = re.compile(
    r"\{[a-zA-Z][\w:+.-]*\}(?=`)|^\([\w-]+\)=|^ *(?::{3,}|`{3,}\{).*|^:[\w-]+:|\{\{|\]\((?!https?://)[^)]*\)"
    r"|^%.*|^\+\+\+|</summary>\n(?!\n)|[^\n]\n</details>",
    re.M,
)


class Place(NamedTuple):
    """Where something stands on the site, and the number that it has there."""

    address: str  # from the site's root: book/foundations/elbo.html#equation-eq-jensen
    number: str = ""  # 4.2, empty where there is none


class Work(NamedTuple):
    """A cited work: where the bibliography lists it, by whom it is, and when it came out."""

    address: str
    authors: str
    year: str


class Page(NamedTuple):
    """A page of the site."""

    address: str
    title: str
    numbers: list[str]  # of its title and sections, as "4", "4.1", …; empty where the book does not count


class Site(NamedTuple):
    """What the build knows: pages by their source without suffix, labels, works by their keys."""

    title: str
    address: str
    pages: Mapping[str, Page]
    labels: Mapping[str, Place]
    works: Mapping[str, Work]
    glued: Callable[[str], Mapping[str, object]]  # the values that a page's notebook stored, by name


def path(name: str) -> str:
    """Return where on the site the edition of a page lies: book/vae/x becomes colab/vae/x.ipynb."""
    return f"colab/{name.removeprefix('book/')}.ipynb"


def launch_url(name: str) -> str:
    """Return the address that opens the edition of a page in Colab, from the branch that holds the site."""
    repository = notebooks.repository_url().removeprefix("https://github.com/")
    return f"https://colab.research.google.com/github/{repository}/blob/gh-pages/{path(name)}"


class Trouble(ValueError):
    """Something in a notebook that has no form in Colab."""


class Markdown:
    """The texts of one page, from MyST to plain Markdown."""

    def __init__(self, site: Site, name: str) -> None:
        self.site, self.name = site, name
        numbers = site.pages[name].numbers
        self.titles = iter([n for n in numbers if "." not in n])
        self.sections = iter([n for n in numbers if "." in n])

    def convert(self, text: str) -> str:
        """Return a text in plain Markdown."""
        plain = PIECE.sub(self._piece, text)
        # Code and formulas may hold anything; what is left of the rest must hold no MyST.
        kept = ("ticks", "tick", "formula", "inline")
        bare = PIECE.sub(lambda m: "" if any(m[name] for name in kept) else m.group(), plain)
        if left := LEFTOVER.search(bare):
            raise Trouble(f"{left.group().strip()!r} has no form in Colab")
        return plain.strip("\n")

    def _piece(self, match: re.Match[str]) -> str:
        """Return what one match of PIECE becomes."""
        if match["directive"] is not None:
            return self._directive(match["directive"], match["argument"], match["body"])
        if match["role"]:
            return self._role(match["role"], match["content"])
        if match["equation"]:
            formula = match["formula"].rstrip()
            end = match["formula"][len(formula) :] or " "
            return f"$${formula} \\tag{{{self._place(match['equation']).number}}}{end}$$"
        if match["target"]:
            self._place(match["target"])
            return ""
        if match["level"]:
            number = next(self.titles if match["level"] == "#" else self.sections, "")
            return f"{match['level']} {number}. " if number else match.group()
        if match["link"]:
            return self._link(match["words"], match["link"])
        return match.group()

    def _directive(self, name: str, argument: str, body: str) -> str:
        """Return an exercise or a theorem, with its number."""
        kind = {"exercise": "Exercise", "prf:theorem": "Theorem"}.get(name)
        if kind is None:
            raise Trouble(f"the directive {name!r} has no form in Colab")
        options = dict(re.findall(r"^:([\w-]+):[ ]*(.*)$", body, re.M))
        if set(options) != {"label"}:
            raise Trouble(f"the directive {name!r} has options other than a label: {sorted(options)}")
        text = self.convert(re.sub(r"^:label:.*\n\s*", "", body, flags=re.M))
        number, title = self._place(options["label"]).number, self.convert(argument)
        if kind == "Exercise":
            return f"### {kind} {number}: {title}\n\n{text}\n\n"
        return f"**{kind} {number} ({title}).** {text}\n\n"

    def _role(self, name: str, content: str) -> str:
        """Return a glued value or a citation."""
        if name == "glue:text":
            return self._glued(content)
        if name not in {"cite", "cite:p", "cite:t"}:
            raise Trouble(f"the role {name!r} has no form in Colab")
        keys = [key.strip() for key in content.split(",")]
        if missing := [key for key in keys if key not in self.site.works]:
            raise Trouble(f"the bibliography has no {missing[0]!r}")
        works = [self.site.works[key] for key in keys]
        if name == "cite:t":
            return "; ".join(f"[{w.authors} ({w.year})]({self._url(w.address)})" for w in works)
        return "(" + "; ".join(f"[{w.authors}, {w.year}]({self._url(w.address)})" for w in works) + ")"

    def _glued(self, content: str) -> str:
        """Return the value that a notebook stored, formatted as MyST-NB does."""
        page, _, rest = content.rpartition("::")
        key, _, form = rest.partition(":")
        values = self.site.glued(self._source(page) if page else self.name)
        if key not in values:
            raise Trouble(f"no cell glues {key!r}")
        return format(values[key], form)

    def _link(self, words: str, target: str) -> str:
        """Return a link to the site, with the number of an equation or the title of a page."""
        if re.match(r"https?://", target):
            return f"[{self.convert(words)}]({target})"
        source, _, anchor = target.partition("#")
        if not source:
            place = self._place(anchor)
            if anchor.startswith("eq-"):
                return f"{self.convert(words)} [({place.number})]({self._url(place.address)})".strip()
            return f"[{self.convert(words) or place.number}]({self._url(place.address)})"
        page = self.site.pages[self._source(source)]
        address = self._place(anchor).address if anchor else page.address
        return f"[{self.convert(words) or page.title}]({self._url(address)})"

    def _source(self, path: str) -> str:
        """Return the name of the page whose source a link of this page leads to."""
        parts: list[str] = []
        for part in (PurePosixPath(self.name).parent / path).with_suffix("").parts:
            parts = parts[:-1] if part == ".." else [*parts, part]
        if (name := "/".join(parts)) not in self.site.pages:
            raise Trouble(f"the book has no page {path!r}")
        return name

    def _place(self, label: str) -> Place:
        """Return where a label stands."""
        if label not in self.site.labels:
            raise Trouble(f"the book has no label {label!r}")
        return self.site.labels[label]

    def _url(self, address: str) -> str:
        """Return an address of the site in full."""
        return self.site.address + address


def convert(notebook: NotebookNode, name: str, site: Site) -> NotebookNode:
    """Return the Colab edition of a page's notebook."""
    markdown = Markdown(site, name)
    cells: list[NotebookNode] = []
    for number, cell in enumerate(notebook.cells, start=1):
        try:
            if notebooks.is_setup(cell):
                cells = [*_opening(cell, site, name), *cells]
            elif cell.cell_type == "markdown":
                cells.append(new_markdown_cell(markdown.convert(cell.source), id=cell.id))
            else:
                cells += _code(cell, markdown)
        except Trouble as trouble:
            raise Trouble(f"{name}.ipynb, cell {number}: {trouble}") from None
    for cell in cells:
        cell.metadata["id"] = cell.id  # Colab's own place for it, by which it links to cells
    colab = {"name": f"{PurePosixPath(name).name}.ipynb", "provenance": [], "toc_visible": True}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"colab": colab, "kernelspec": kernel, "language_info": {"name": "python"}}
    return new_notebook(cells=cells, metadata=metadata)


def _opening(setup: NotebookNode, site: Site, name: str) -> Iterator[NotebookNode]:
    """Yield where this notebook comes from, and the set-up cell."""
    page = site.pages[name]
    title = f"{page.numbers[0]}. {page.title}" if page.numbers else page.title
    yield new_markdown_cell(
        f"[{title}]({site.address}{page.address}), from the book [{site.title}]({site.address}). "
        "Run the next cell first: it fetches the book's package.",
        id="colab-edition",
    )
    yield _folded(setup, "Set up: run this cell first")


def _folded(cell: NotebookNode, title: str) -> NotebookNode:
    """Return a code cell of which Colab shows only a title and what it prints."""
    return new_code_cell(
        f"#@title {title}\n{cell.source}",
        id=cell.id,
        metadata={"cellView": "form"},
        execution_count=cell.execution_count,
        outputs=cell.outputs,
    )


def _makes(source: str) -> str:
    """Return a title for a cell's code: the functions that it defines, or else the values."""
    tree = ast.parse(source)
    functions = [part.name for part in tree.body if isinstance(part, ast.FunctionDef | ast.ClassDef)]
    assigned = [target for part in ast.walk(tree) if isinstance(part, ast.Assign) for target in part.targets]
    stored = [name for target in assigned for name in ast.walk(target) if isinstance(name, ast.Name)]
    values = [name.id for name in sorted(stored, key=lambda name: (name.lineno, name.col_offset))]
    names = list(dict.fromkeys(functions or [name for name in values if name != "_"]))
    return f"Code of {', '.join(names[:3])}{', …' * (len(names) > 3)}" if names else "Numbers for the text"


def _code(cell: NotebookNode, markdown: Markdown) -> Iterator[NotebookNode]:
    """Yield a code cell, and its figure's caption."""
    outputs = [shown for output in cell.outputs if (shown := _output(output, markdown))]
    code = new_code_cell(cell.source, id=cell.id, execution_count=cell.execution_count, outputs=outputs)
    figure = cell.metadata.get("mystnb", {}).get("figure")
    label = f"Fig. {markdown._place(figure['name']).number}" if figure else ""
    if "hide-input" in notebooks.tags(cell):
        code = _folded(code, f"Code of {label}" if label else _makes(cell.source))
    yield code
    if figure:
        caption = markdown.convert(figure["caption"])
        yield new_markdown_cell(f"**{label}.** {caption}", id=figure["name"])


def _output(output: NotebookNode, markdown: Markdown) -> NotebookNode | None:
    """Return what Colab can show of an output: no record, and of an explorer the still picture."""
    if "data" not in output:
        return output
    data = {kind: value for kind, value in output.data.items() if not kind.startswith(RECORD)}
    alive = data.pop(WIDGET_VIEW, None)
    if not data or (alive and "image/png" not in data):
        return None
    if "text/markdown" in data:
        data["text/markdown"] = markdown.convert(data["text/markdown"])
    return NotebookNode(output, data=NotebookNode(data), metadata=NotebookNode())


def glued(notebook: NotebookNode) -> dict[str, object]:
    """Return the values that a notebook's stored outputs hold under a name."""
    outputs = [output for cell in notebooks.code_cells(notebook) for output in cell.outputs]
    records = [o for o in outputs if f"{RECORD}text/plain" in o.get("data", {})]
    return {o.metadata["scrapbook"]["name"]: ast.literal_eval(o.data[f"{RECORD}text/plain"]) for o in records}
