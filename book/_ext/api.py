"""The reference of the package, from its docstrings, tied to the chapters in both directions.

Code in a chapter links to what it calls (sphinx-codeautolink reads each notebook as one program, so a name
that a page defines itself stays that page's). Back from there, "Used in" lists the sections whose code uses a
name, and a docstring's "In the book: eq-elbo-is." becomes the number of the equation, and a link.
"""

import ast
import inspect
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from sphinx_codeautolink import extension
from sphinx_codeautolink.extension.block import CodeBlockAnalyser, link_html
from sphinx_codeautolink.parse import NameBreak

import notebooks
import vae_src

LABELS = re.compile(r"In the book:([^.]*)\.", re.S)
LABEL = re.compile(r"\b(eq|fig)-[\w-]*\w")
CODE = re.compile(r'<div class="highlight-[^"]*"><div class="highlight"><pre>.*?</pre></div>\s*</div>', re.S)
NAMING = (ast.Import, ast.ImportFrom, ast.Assign, ast.With, ast.For, ast.FunctionDef, ast.ClassDef)
NAME = re.compile(r"(?<![\w`:])`([A-Za-z_][\w.]*)`(?!`)")


class UsedIn(nodes.paragraph):
    """Where the book uses a name, once all of its pages have been read."""


class UsedInDirective(SphinxDirective):
    """Make room for the sections that use a name: ``.. used-in:: vae_src.objectives.elbo``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return an empty paragraph that remembers the name."""
        return [UsedIn("", name=self.arguments[0], classes=["used-in"])]


def _finish_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Give a docstring its links, and its list of sections."""
    module = obj.__name__ if what == "module" else getattr(obj, "__module__", None) or "vae_src"
    lines[:] = [*with_links("\n".join(lines), module).split("\n"), "", f".. used-in:: {name}"]


def _skip_field(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples, of which Python says "Alias for field number 0"."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def source_url(domain: str, info: dict[str, str]) -> str | None:
    """Return the address of the lines that define a name, in the repository."""
    if domain != "py" or not info["module"].startswith("vae_src"):
        return None
    found: Any = sys.modules[info["module"]]
    for part in info["fullname"].split("."):
        found = getattr(found, part, None)
    found = inspect.unwrap(found) if callable(found) else None
    if getattr(found, "__name__", "") != part:  # a field, or its default
        return None
    lines, first = inspect.getsourcelines(found)
    path = Path(inspect.getfile(found)).relative_to(Path(vae_src.__file__).parents[1]).as_posix()
    return f"{notebooks.repository_url()}/blob/main/{path}#L{first}-L{first + len(lines) - 1}"


def _true_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, result: str
) -> tuple[str, str] | None:
    """Return what an explorer is made from; Sphinx sees only that its base class takes anything."""
    if what != "class" or not name.startswith("vae_src.widgets."):
        return None
    own = [p for p in inspect.signature(obj.__init__).parameters.values() if p.name not in ("self", "args")]
    return str(inspect.Signature([p.replace(annotation=inspect.Parameter.empty) for p in own])), ""


def with_links(text: str, module: str) -> str:
    """Return a docstring with links for its labels of the book and its names of the package."""
    role = {"eq": "eq", "fig": "numref"}
    text = LABELS.sub(lambda m: LABEL.sub(lambda n: f":{role[n[1]]}:`{n[0]}`", m[0]), text)
    return NAME.sub(lambda m: _link(m[1], module), text)


def _link(name: str, module: str) -> str:
    """Return a link to what a module calls by a name, or the name as code where that is not the package's."""
    for start in (module, "vae_src"):
        found: Any = sys.modules[start]
        for part in name.removeprefix("vae_src.").split("."):
            found = getattr(found, part, None)
        if isinstance(found, ModuleType) and found.__name__.startswith("vae_src"):
            return f":py:mod:`{name} <{found.__name__}>`"
        if str(getattr(found, "__module__", "")).startswith("vae_src") and hasattr(found, "__qualname__"):
            return f":py:obj:`{name} <{found.__module__}.{found.__qualname__}>`"
    return f"``{name}``"


def _link_sparingly(app: Sphinx, env: BuildEnvironment) -> None:
    """Keep, of the names in code that could be links, those of the package itself, once a section.

    sphinx-codeautolink would also lead from each variable to the class of its value.
    """
    for blocks in getattr(env, "sphinx_codeautolink_transforms", {}).values():  # none in print
        seen = set()
        for block in blocks:
            for name in list(block.names):
                use = (block.example.ref_id, *map(str, name.import_components))
                if name.import_components[-1] == NameBreak.call or use in seen:
                    block.names.remove(name)
                seen.add(use)


def _list_uses(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Fill the lists of one page."""
    for place in list(doctree.findall(UsedIn)):
        links = []
        for page, anchors in _uses(app, place["name"]).items():
            address = app.builder.get_relative_uri(docname, page)
            for anchor, number, title in _counted(app, page, anchors):
                options = {"reftitle": title} if number else {}
                link = nodes.reference("", number or title, internal=True, refuri=address + anchor, **options)
                links += [nodes.Text(", " if links else "Used in "), link]
        if links:
            place += [*links, nodes.Text(".")]
        else:
            place.parent.remove(place)


def _uses(app: Sphinx, name: str) -> dict[str, set[str]]:
    """Return where the book's code uses a name: pages in their order, and the anchors of their sections."""
    uses: dict[str, set[str]] = {}
    blocks = app.env.sphinx_codeautolink_transforms  # type: ignore[attr-defined]
    for page in app.env.collect_relations():
        for block in blocks.get(page, []):
            if any(used.resolved_location == name for used in block.names):
                uses.setdefault(page, set()).add(f"#{block.example.ref_id}")
    return uses


def _counted(app: Sphinx, page: str, anchors: set[str]) -> list[tuple[str, str, str]]:
    """Return anchor, number and title of the sections that hold these anchors, as far as the book counts.

    A page's beginning, where it imports, is named only if nothing below it is.
    """
    numbers = app.env.toc_secnumbers.get(page, {})
    entries = list(app.env.tocs[page].findall(nodes.reference))
    known = {entry["anchorname"] for entry in entries}
    wanted = {anchor if anchor in known else "" for anchor in anchors}
    found: list[tuple[str, str, str]] = []
    for entry in entries:
        anchor = entry["anchorname"]
        if numbers.get(anchor) or not anchor:
            section = (anchor, ".".join(map(str, numbers.get(anchor) or ())), entry.astext())
        if anchor in wanted and section not in found:
            found.append(section)
    return [section for section in found if section[0]] or found


def _titled(section: nodes.section) -> bool:
    """Tell whether a section has a title; the one inside an exercise has none."""
    return any(isinstance(child, nodes.title) for child in section.children)


class Names(list[str]):
    """The code of the cells above, as far as it gives names a meaning: it is read anew for each."""

    def extend(self, sources: Iterable[str]) -> None:
        """Add cells: their imports, their assignments, and the heads of their functions and classes."""
        for source in sources:
            kept = [_head(part) for part in ast.parse(source).body if isinstance(part, NAMING)]
            super().append("\n".join(ast.unparse(part) for part in kept))


def _head(statement: ast.stmt) -> ast.stmt:
    """Return a statement, of a function or a class only its head."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        statement.body = [ast.Expr(ast.Constant(...))]
    return statement


def _link_blocks(document: str, folder: str, *rest: Any, **options: Any) -> None:
    """Let sphinx-codeautolink write its links into a page's code alone: it would write all tags anew."""
    page = Path(folder, f"{document}.html")
    text = page.read_text("utf8")
    with tempfile.TemporaryDirectory() as aside:
        blocks = Path(aside, f"{document}.html")
        blocks.parent.mkdir(parents=True, exist_ok=True)
        blocks.write_text("\n<hr/>\n".join(CODE.findall(text)), "utf8")
        link_html(document, aside, *rest, **options)
        linked = iter(blocks.read_text("utf8").split("\n<hr/>\n"))
    page.write_text(CODE.sub(lambda block: next(linked), text), "utf8")


def _teach_codeautolink() -> None:
    """Teach sphinx-codeautolink that an exercise's section has no title, and to read and write less."""
    extension.link_html = _link_blocks
    start = CodeBlockAnalyser.__init__
    visit, depart = CodeBlockAnalyser.visit_section, CodeBlockAnalyser.depart_section

    def begin(self: CodeBlockAnalyser, *args: Any, **options: Any) -> None:
        """Begin a page."""
        start(self, *args, **options)
        self.concat_sources = Names()

    CodeBlockAnalyser.__init__ = begin
    CodeBlockAnalyser.visit_section = lambda self, node: visit(self, node) if _titled(node) else None
    CodeBlockAnalyser.depart_section = lambda self, node: depart(self, node) if _titled(node) else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension; napoleon reads the docstrings first, and codeautolink the chapters' code."""
    _teach_codeautolink()
    app.add_node(UsedIn)
    app.add_directive("used-in", UsedInDirective)
    app.connect("autodoc-process-docstring", _finish_docstring, priority=600)
    app.connect("autodoc-process-signature", _true_signature)
    app.connect("autodoc-skip-member", _skip_field)
    app.config.linkcode_resolve = source_url
    app.connect("env-updated", _link_sparingly, priority=400)  # before codeautolink's own
    app.connect("doctree-resolved", _list_uses)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
