r"""The printed book: what the pages are on paper, where nothing folds, moves or is clicked.

Sphinx puts all pages into one tree before it writes LaTeX. Here that tree becomes a book: the first page is
its preface, the captions of the table of contents its parts. A derivation that the site folds away stands
open, a solution at the back. Folded code stays in the notebooks. An explorer is its still picture, and says
where it moves. Numbers are those of the site: some are handed to LaTeX, the others counted there, and pdf.py
compares them with the list that is written beside the text. The commands that begin with ``\book`` are in
_latex/vae-book.sty.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders.latex.nodes import thebibliography
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx_exercise.nodes import exercise_enumerable_node
from sphinx_proof.nodes import NODE_TYPES

import chapters
import notebooks
from notebooks import WIDGET_VIEW

FOLD = re.compile(r'<details(?: id="([^"]+)")?>\s*<summary>(.*?)</summary>', re.S)
END = "</details>"
STILL = "A still picture: the explorer itself moves at "
KERNEL = "The controls that this cell shows move in a running notebook."
LONG_TABLE = 8  # rows from which a table may go on on the next page
UNSOLVED = "○ "
ABOUT = "About this book"
ON_SCREEN = "book/reference/api/"  # the package's reference, which is for looking up and not for reading
THEOREMS = tuple(NODE_TYPES.values())


class book_item(nodes.General, nodes.Element):
    """An exercise, a theorem, a solution or an opened fold: `environment`, `head`, and what it holds."""


class book_scope(nodes.General, nodes.Element):
    """Something that has left its page, and whose links are still counted from there: `docname`."""


class book_command(nodes.General, nodes.Element):
    """A LaTeX command, whose arguments are the children."""


def latex(text: str) -> nodes.raw:
    """Return a piece of LaTeX."""
    return nodes.raw("", f"\n{text}\n", format="latex")


def to_page(docname: str, words: str) -> nodes.reference:
    """Return a link to a page of the book, as the LaTeX builder writes it."""
    return nodes.reference("", words, refuri=f"%{docname}", internal=True)


class Printed(SphinxPostTransform):
    """Make a book of the tree of all pages, before references are resolved."""

    default_priority = 2
    formats = ("latex",)

    def run(self, **kwargs: Any) -> None:
        """Change the tree, page by page, then its order."""
        root = next(self.document.findall(nodes.section))
        self.solutions: dict[str, list[nodes.Node]] = {}
        for file in list(self.document.findall(addnodes.start_of_file)):
            if file["docname"].startswith(ON_SCREEN):
                file.parent.remove(file)
        files = list(self.document.findall(addnodes.start_of_file))
        for file in files:
            self._page(file, file["docname"])
        self._page(self._preface(root), self.config.root_doc)
        self._parts({file["docname"]: file for file in files})

    def _page(self, page: nodes.Element, docname: str) -> None:
        """Give one page the form that it has in print."""
        if docname in chapters.written():
            self._chapter_line(page, docname)
        for place in list(page.findall(chapters.chapter_cards)):
            place.replace_self(list(self._chapter_list()))
        for cell in list(page.findall(nodes.container)):
            if cell.get("nb_element") == "cell_code":
                self._cell(cell)
        for table in page.findall(nodes.table):
            _set_table(table)
        for figure in list(page.findall(nodes.figure)):
            self._figure(figure, docname)
        for node in list(page.findall(nodes.Element)):
            if isinstance(node, exercise_enumerable_node):
                self._numbered(node, docname, "exercise", "Exercise")
            elif isinstance(node, THEOREMS):
                self._numbered(node, docname, node["countertype"], node["realtype"].title())
        for raw in list(page.findall(nodes.raw)):
            if raw.parent is not None and (match := FOLD.search(raw.astext())):
                self._fold(raw, match, docname)

    # --- the line under a chapter's title, and the list of chapters

    def _chapter_line(self, page: nodes.Element, docname: str) -> None:
        """Say under a chapter's title what it needs, how long it takes, and where it is on the web."""
        chapter, own = chapters.written()[docname], self.env.metadata[docname]["chapter"]
        line = nodes.paragraph("", "", *self._needs(chapter))
        line += nodes.Text(f" {chapters.minutes_to_read(own['words'])} minutes to read, ")
        line += nodes.Text(f"{chapters.to_run(chapter.runs)} to run. On the web: ")
        line += self._link(docname)
        title = next(page.findall(nodes.title))
        title.parent.insert(title.parent.index(title) + 1, book_command("", line, name="bookaside"))

    def _link(self, docname: str, anchor: str = "") -> nodes.raw:
        """Return a link to a page of the site that shows its address."""
        address = f"{self.config.html_baseurl}{docname}.html"
        shown = rf"\nolinkurl{{{address.removeprefix('https://')}}}"
        place = rf"\#{anchor}" if anchor else ""
        return nodes.raw("", rf"\href{{{address}{place}}}{{{shown}}}", format="latex")

    def _needs(self, chapter: chapters.Chapter) -> Iterator[nodes.Node]:
        """Yield what a chapter needs, in words with links."""
        first, *links = chapters.linked_needs(chapter, "%{}".format)
        words = first.astext()
        yield from [nodes.Text(words[0].upper() + words[1:]), *links, nodes.Text(".")]

    def _chapter_list(self) -> Iterator[nodes.Node]:
        """Yield the chapters by their parts."""
        for part in chapters.parts():
            yield nodes.paragraph("", "", nodes.strong("", part["name"]), nodes.Text(f". {part['about']}"))
            entries = (self._chapter_entry(chapter) for chapter in part["chapters"])
            yield nodes.definition_list("", *entries)

    def _chapter_entry(self, chapter: chapters.Chapter) -> nodes.definition_list_item:
        """Return a chapter's title, its question and what it asks of its reader."""
        term = nodes.term("", f"{chapter.number}  ")
        if chapter.docname:
            own = self.env.metadata[chapter.docname]["chapter"]
            term += to_page(chapter.docname, self.env.titles[chapter.docname].astext())
            times = f"{chapters.minutes_to_read(own['words'])} min, runs in {chapters.to_run(chapter.runs)}"
            needs = chapters.needs_in_words(chapter, chapters.listed([str(need) for need in chapter.needs]))
            said = f"{own['question']} {times}; {needs}."
        else:
            term += nodes.Text(f"{chapter.title} (to be written)")
            said = chapter.question
        return nodes.definition_list_item("", term, nodes.definition("", nodes.paragraph("", said)))

    # --- cells and figures

    def _cell(self, cell: nodes.container) -> None:
        """Leave out folded code, controls that need a kernel, and what an unsolved exercise says."""
        if cell.get("hide_mode"):
            for part in list(cell.children):
                if part.get("nb_element") == "cell_code_source":  # type: ignore[union-attr]
                    cell.remove(part)
        for bundle in list(cell.findall(nodes.container)):
            kinds = {part.get("mime_type") for part in bundle.children if isinstance(part, nodes.Element)}
            if (
                bundle.get("nb_element") == "mime_bundle"
                and WIDGET_VIEW in kinds
                and "image/png" not in kinds
            ):
                bundle.replace_self(nodes.paragraph("", "", nodes.emphasis("", KERNEL)))
        for output in list(cell.findall(nodes.literal_block)):
            if output.astext().startswith(UNSOLVED):
                output.parent.remove(output)
        if not any(part.children for part in cell.children):
            cell.parent.remove(cell)

    def _figure(self, figure: nodes.figure, docname: str) -> None:
        """Give a figure the number that it has on the site, and an explorer the address where it moves."""
        number = self._number(docname, "figure", figure["ids"])
        figure.parent.insert(figure.parent.index(figure), latex(rf"\bookfigure{{{number}}}"))
        moves = any(part.get("mime_type") == WIDGET_VIEW for part in figure.findall(nodes.container))
        if moves or "explorer" in figure["classes"]:
            caption = next(figure.findall(nodes.caption))
            anchor = figure["ids"][0] if docname in chapters.written() else ""
            address = self._link(docname, anchor)
            caption += [nodes.Text(" "), nodes.emphasis("", "", nodes.Text(STILL), address)]

    def _number(self, docname: str, kind: str, ids: list[str]) -> str:
        """Return the number of something, as the site counts."""
        numbers = self.env.toc_fignumbers.get(docname, {}).get(kind, {})
        found = next((numbers[name] for name in ids if name in numbers), None)
        if found is None:
            raise ExtensionError(f"{docname}: the {kind} {ids} has no number")
        return ".".join(map(str, found))

    # --- exercises, theorems and folds

    def _numbered(self, node: nodes.Element, docname: str, kind: str, word: str) -> None:
        """Replace an exercise or a theorem by an item with its number in its head."""
        number, (first, *rest) = self._number(docname, kind, node["ids"]), node.children
        body = [part for child in rest for part in (child if isinstance(child, nodes.section) else [child])]
        item = book_item("", _head(f"{word} {number}", title := _title(first)), *copies(body))
        item.attributes |= {"environment": "bookitem", "ids": node["ids"], "number": number, "title": title}
        node.replace_self(item)

    def _fold(self, raw: nodes.raw, match: re.Match[str], docname: str) -> None:
        """Open a fold; put a solution aside for the back of the book."""
        parent, start, name = raw.parent, raw.parent.index(raw), match[1] or ""
        rest = parent.children[start:]
        length = next((k for k, n in enumerate(rest) if isinstance(n, nodes.raw) and END in n.astext()), 0)
        if not length:
            raise ExtensionError(f"{docname}: the fold {match[2]!r} has no end")
        del parent.children[start : start + length + 1]
        body = rest[1:length]
        if name.startswith("sol-"):
            self.solutions.setdefault(docname, []).append(self._solution(name, body))
            place = rf"\pageref{{\detokenize{{{docname}:{name}}}}}"
            parent.insert(start, latex(rf"\bookaside{{Solution on page~{place}.}}"))
        else:
            parent.insert(start, book_item("", nodes.inline("", match[2]), *body, environment="bookfold"))

    def _solution(self, name: str, body: list[nodes.Node]) -> book_item:
        """Return a solution, with a link to its exercise in its head."""
        label = name.replace("sol-", "ex-", 1)
        exercise = next(item for item in self.document.findall(book_item) if label in item["ids"])
        number = exercise["number"]
        link = nodes.reference("", f"Exercise {number}", refid=label, internal=True)
        head = _head(link, exercise["title"])
        return book_item("", head, *body, environment="bookitem", ids=[name], number=number)

    # --- the order of the book

    def _preface(self, root: nodes.section) -> nodes.section:
        """Make and return a chapter of what stands on the first page."""
        own = [part for part in root.children[1:] if not any(part.findall(addnodes.start_of_file))]
        for child in own:
            root.remove(child)
        about = nodes.section("", nodes.title("", ABOUT), *own, ids=["about-this-book"])
        root.insert(1, about)
        return about

    def _parts(self, files: dict[str, nodes.Element]) -> None:
        """Set the parts apart, count the chapters of those that are numbered, and add the solutions."""
        abouts = {part["name"]: part["about"] for part in chapters.parts()}
        front = True
        for toctree in self.env.tocs[self.config.root_doc].findall(addnodes.toctree):
            if toctree["includefiles"][0].startswith(ON_SCREEN):
                continue
            first, last = (files[toctree["includefiles"][k]] for k in (0, -1))
            if toctree["numbered"]:
                texts = [*toctree["caption"].split(" · "), abouts[toctree["caption"]]]
                part = book_command("", *[nodes.inline("", text) for text in texts], name="bookpart")
                _before(first, [latex(r"\bookmain"), part] if front else [part])
                front = False
            elif not front:
                _before(first, [latex(r"\bookback")])
                _before(last, [self._back()])

    def _back(self) -> nodes.section:
        """Return the solutions of all chapters as a chapter."""
        back = nodes.section("", nodes.title("", "Solutions"), ids=["solutions"])
        for docname, solutions in self.solutions.items():
            title = f"Chapter {chapters.written()[docname].number}: {self.env.titles[docname].astext()}"
            section = nodes.section("", nodes.title("", title), *solutions, ids=["solutions"])
            back += book_scope("", section, docname=docname)
        return back


def copies(parts: Iterable[nodes.Node]) -> list[nodes.Node]:
    """Return copies of nodes, which may stand in another place."""
    return [part.deepcopy() for part in parts]


def _title(node: nodes.Node) -> list[nodes.Node]:
    """Return the words of an exercise's or a theorem's title, without its kind and number."""
    subtitle = next((child for child in node.children if isinstance(child, nodes.subtitle)), node)
    return copies(subtitle.children) if isinstance(subtitle, nodes.title | nodes.subtitle) else []


def _head(name: nodes.Node | str, title: list[nodes.Node]) -> nodes.inline:
    """Return the head of an item: its kind and number, and its title."""
    between = [nodes.Text("  ")] if title else []
    return nodes.inline("", "", nodes.Text(name) if isinstance(name, str) else name, *between, *copies(title))


def _before(node: nodes.Element, others: list[nodes.Node]) -> None:
    """Insert nodes before another."""
    node.parent.insert(node.parent.index(node), others)


def _set_table(table: nodes.table) -> None:
    """Let a long table go on on the next page, for which LaTeX does not find the widths of columns."""
    for empty in [p for p in table.findall(nodes.paragraph) if not p.children]:
        empty.parent.remove(empty)  # it would make its row higher
    rows = list(table.findall(nodes.row))
    if len(rows) < LONG_TABLE:
        return
    for k, column in enumerate(table.findall(nodes.colspec)):
        texts = [row.children[k].astext() for row in rows]
        longest = max((len(word) for text in texts for word in re.split(r"[\s(]", text)), default=1)
        column["colwidth"] = max(18, int(1.5 * min(longest, 28)), sum(map(len, texts)) // len(texts))
    table["classes"] += ["colwidths-given", "longtable"]


class LinksInPrint(SphinxPostTransform):
    """Let LaTeX write the numbers in links to equations, and lead to the site for what is not printed.

    Sphinx has the anchors of equations only in HTML.
    """

    default_priority = 950
    formats = ("latex",)

    def run(self, **kwargs: Any) -> None:
        """Replace these links."""
        equations = self.env.domaindata["math"]["objects"]
        for link in list(self.document.findall(nodes.reference)):
            page = link.get("refuri", "").removeprefix("%")
            if page.startswith(ON_SCREEN):
                link["refuri"] = f"{self.config.html_baseurl}{page}.html"
                link["internal"] = False
            label = (link.get("refid") or link.get("refuri", "")).partition("equation-")[2]
            if label in equations:
                number = rf"\eqref{{equation:{equations[label][0]}:{label}}}"
                link.replace_self(nodes.raw("", number, format="latex"))


class BibliographyInItsPlace(SphinxPostTransform):
    """Put the list of works, which Sphinx appends to the book, on the page that asks for it."""

    default_priority = 760  # Sphinx gathers it at 750
    formats = ("latex",)

    def run(self, **kwargs: Any) -> None:
        """Move the list."""
        works = next(self.document.findall(thebibliography), None)
        if works is not None:
            works.parent.remove(works)
            files = list(self.document.findall(addnodes.start_of_file))
            next(iter(files[-1].findall(nodes.section))).append(works)


# --- how LaTeX is written ---------------------------------------------------------------------------------


def _open_item(writer: Any, node: book_item) -> None:
    """Begin an item: its anchor, its environment, its head."""
    if labels := node.get("ids"):
        text = "".join(writer.hypertarget(name, anchor=False) for name in labels)
        text += "".join(rf"\label{{exercise:{name}}}" for name in labels)  # sphinx-exercise refers to these
        writer.body.append(f"\n\\bookanchor{{{node['number']}}}{{{text}}}")
    writer.body.append(f"\n\\begin{{{node['environment']}}}{{")
    head = node.children[0]
    node.remove(head)
    head.walkabout(writer)
    writer.body.append("}\n")


def _close_item(writer: Any, node: book_item) -> None:
    """End an item."""
    writer.body.append(f"\n\\end{{{node['environment']}}}\n")


def _enter(writer: Any, node: book_scope) -> None:
    """Begin to count links from another page."""
    writer.curfilestack.append(node["docname"])


def _leave(writer: Any, node: book_scope) -> None:
    """Count links from where they are again."""
    writer.curfilestack.pop()


def _write_command(writer: Any, node: book_command) -> None:
    """Write a command and its arguments."""
    writer.body.append(f"\n\\{node['name']}")
    for child in node.children:
        writer.body.append("{")
        child.walkabout(writer)
        writer.body.append("}")
    writer.body.append("\n")
    raise nodes.SkipNode


def _nothing(writer: Any, node: nodes.Element) -> None:
    """Write nothing more."""


def _numbers(app: Sphinx) -> Iterator[tuple[str, str]]:
    """Yield the labels that LaTeX must know, with the numbers that they have on the site."""
    for docname, kinds in app.env.toc_fignumbers.items():
        for kind, numbers in kinds.items():
            for name, number in numbers.items():
                label = f"{docname}:{name}"
                if kind == "displaymath":
                    label = f"equation:{docname}:{name.removeprefix('equation-')}"
                yield label, ".".join(map(str, number))


def _facts(app: Sphinx) -> str:
    """Return what the title page says of the book, as LaTeX commands."""
    config = app.config
    facts = {
        "name": config.html_title,
        "authors": config.author,
        "year": config.copyright,
        "language": config.language,
        "site": config.html_baseurl,
        "source": notebooks.repository_url(),
    }
    return "".join(f"\\newcommand{{\\book{name}}}{{{value}}}\n" for name, value in facts.items())


def _finish(app: Sphinx, error: Exception | None) -> None:
    """Write what the title page needs, and the site's numbers, beside the text."""
    if not error and app.builder.format == "latex":
        Path(app.outdir, "book-facts.tex").write_text(_facts(app), "utf8")
        Path(app.outdir, "numbers.json").write_text(json.dumps(dict(_numbers(app)), indent=1), "utf8")


def setup(app: Sphinx) -> dict[str, object]:
    """Connect the parts to the build."""
    app.add_node(book_item, latex=(_open_item, _close_item))
    app.add_node(book_scope, latex=(_enter, _leave))
    app.add_node(book_command, latex=(_write_command, _nothing))
    app.add_post_transform(Printed)
    app.add_post_transform(BibliographyInItsPlace)
    app.add_post_transform(LinksInPrint)
    app.connect("build-finished", _finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
