"""What a reader is told about each chapter: its card, the line under its title, what comes next.

The facts come from chapters.yml and from the pages themselves: a written chapter's title and question are
those of its page, its words, exercises and explorers are counted there. Two directives show them:

    ```{ways-in}       buttons: the first chapter, the same in Colab, all explorers
    ```
    ```{chapters}      how far the book and its reader have come, and a card for each chapter
    ```
"""

import functools
import html
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

import colab
from notebooks import WIDGET_VIEW

DATA = Path(__file__).resolve().parents[1] / "chapters.yml"
NUMERALS = ("I", "II", "III")
WORDS_A_MINUTE = 150  # slow enough for the formulas and the code between the words
COVER = "Digits that the decoder draws all over the latent plane, inside the rings of the prior."


@dataclass(frozen=True)
class Chapter:
    """One chapter, as chapters.yml has it."""

    number: int
    part: str
    docname: str = ""  # empty while it is to be written
    title: str = ""
    question: str = ""
    needs: Sequence[int] = ()
    runs: int = 0  # seconds
    picture: str = ""


@functools.cache
def parts() -> list[dict[str, Any]]:
    """Return the parts of the book: title, what they are about, their chapters."""
    found, number = [], 0
    for numeral, part in zip(NUMERALS, yaml.safe_load(DATA.read_text("utf8")), strict=True):
        chapters, name = [], f"Part {numeral}, {part['title']}"
        for entry in part["chapters"]:
            number += 1
            docname = f"book/{entry.pop('page')}" if "page" in entry else ""
            chapters.append(Chapter(number, name, docname, **entry))
        found.append({"name": name.replace(",", " ·"), "about": part["about"], "chapters": chapters})
    return found


def chapters() -> list[Chapter]:
    """Return all chapters, in order."""
    return [chapter for part in parts() for chapter in part["chapters"]]


def written() -> dict[str, Chapter]:
    """Return the chapters that are written, by the name of their page."""
    return {chapter.docname: chapter for chapter in chapters() if chapter.docname}


# --- what is counted and read on a page -------------------------------------------------------------


def _note_page(app: Sphinx, doctree: nodes.document) -> None:
    """Keep a page's question, and the numbers of its words, exercises and explorers."""
    if app.env.docname in written():
        app.env.metadata[app.env.docname] |= {"chapter": facts(doctree)}


def facts(doctree: nodes.document) -> dict[str, Any]:
    """Read a chapter's question, which stands under its title, and count what its text holds."""
    first = next(p for p in doctree.findall(nodes.paragraph) if p.astext())
    strong = first.next_node(nodes.strong)
    if strong is None or strong.astext() != first.astext():
        raise ExtensionError(f"{doctree['source']}: under its title a chapter asks its question, in bold")
    return {
        "question": " ".join(first.astext().split()),
        "words": sum(len(text.split()) for text in _running_text(doctree)),
        "exercises": sum("exercise" in node.get("classes", []) for node in doctree.findall(nodes.Element)),
        "explorers": sum(_is_explorer(node) for node in doctree.findall(nodes.container)),
    }


def _running_text(node: nodes.Node) -> list[str]:
    """Return the text that is read in one go, without code, output and formulas."""
    if isinstance(node, nodes.Text):
        return [str(node)]
    if isinstance(node, nodes.literal_block | nodes.math_block | nodes.raw | nodes.comment):
        return []
    return [text for child in node.children for text in _running_text(child)]


def _is_explorer(bundle: nodes.container) -> bool:
    """Tell whether an output is an explorer: it can be looked at as a widget and as a picture."""
    kinds = {child.get("mime_type") for child in bundle.children if isinstance(child, nodes.Element)}
    return bundle.get("nb_element") == "mime_bundle" and {WIDGET_VIEW, "image/png"} <= kinds


def minutes_to_read(words: int) -> int:
    """Return a reading time, to the nearest five minutes."""
    return max(5, 5 * round(words / WORDS_A_MINUTE / 5))


def to_run(seconds: int) -> str:
    """Return the time that a notebook takes, in words."""
    return f"{seconds} s" if seconds < 55 else f"{round(seconds / 60)} min"


def counted(number: int, thing: str) -> str:
    """Return a number with its noun, as in "1 explorer" and "5 exercises"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def listed(words: list[str]) -> str:
    """Return words joined as in a sentence."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


# --- the line under a chapter's title ----------------------------------------------------------------


def _add_line(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Say under a chapter's title where it stands, how long it takes and what it needs."""
    chapter = written().get(docname)
    if chapter is None or app.builder.format != "html":
        return
    words = app.env.metadata[docname]["chapter"]["words"]
    start = f"Chapter {chapter.number} of {len(chapters())}"
    time = f"{minutes_to_read(words)} min to read, {to_run(chapter.runs)} to run"
    line = nodes.paragraph("", " · ".join([start, chapter.part, time, ""]), classes=["chapter-line"])
    line += linked_needs(chapter, lambda target: app.builder.get_relative_uri(docname, target))
    title = next(doctree.findall(nodes.title))
    title.parent.insert(title.parent.index(title) + 1, line)


def needs_in_words(chapter: Chapter, numbers: str) -> str:
    """Return what a chapter needs, before the numbers of the chapters."""
    if not chapter.needs:
        return "needs no other chapter"
    return f"needs {'chapter' if len(chapter.needs) == 1 else 'chapters'} {numbers}"


def linked_needs(chapter: Chapter, address: Callable[[str], str]) -> Iterator[nodes.Node]:
    """Yield what a chapter needs, with links to the chapters; the function knows the address of a page."""
    yield nodes.Text(needs_in_words(chapter, ""))
    for k, need in enumerate(chapter.needs):
        yield nodes.Text("" if k == 0 else (" and " if k == len(chapter.needs) - 1 else ", "))
        target = address(chapters()[need - 1].docname)
        yield nodes.reference("", str(need), refuri=target, internal=True)


# --- the first page ------------------------------------------------------------------------------------


class ways_in(nodes.General, nodes.Element):
    """The place of the buttons."""


class chapter_cards(nodes.General, nodes.Element):
    """The place of the cards."""


class WaysIn(SphinxDirective):
    """Buttons that lead into the book."""

    def run(self) -> list[nodes.Node]:
        """Return the place where they will be written."""
        return [ways_in()]


class Cards(SphinxDirective):
    """A card for each chapter."""

    def run(self) -> list[nodes.Node]:
        """Return the place where they will be written, once the titles of all pages are known."""
        return [chapter_cards()]


def _write_ways_in(translator: Any, node: ways_in) -> None:
    """Write the buttons."""
    first, link = next(iter(written())), _linker(translator)
    translator.body.append(
        f'<img class="cover" src="{_picture(translator.config, "cover")}" width="232" height="232"'
        f' alt="{COVER}">'
        '<p class="ways-in">'
        f'<a class="way first" href="{link(first)}">Start with chapter 1</a>'
        f'<a class="way" href="{html.escape(colab.launch_url(first))}">Open it in Colab</a>'
        f'<a class="way" href="{link("book/reference/explorers")}">All explorers</a></p>'
    )
    raise nodes.SkipNode


def _write_cards(translator: Any, node: chapter_cards) -> None:
    """Write how far the book is, and a card for each chapter of it."""
    link, env = _linker(translator), translator.builder.env
    done, total = len(written()), len(chapters())
    bar = "".join(f'<span class="{"done" if c.docname else "open"}"></span>' for c in chapters())
    translator.body.append(
        f'<p class="book-progress"><span class="book-bar" aria-hidden="true">{bar}</span>'
        f"{done} of {total} chapters are written. The others follow, in this order.</p>"
        '<p class="go-on" hidden></p>'
    )
    for part in parts():
        rows = [_card(c, env, link) for c in part["chapters"] if c.docname]
        to_come = [_row(c) for c in part["chapters"] if not c.docname]
        translator.body.append(f'<h3>{part["name"]}</h3><p class="part-about">{part["about"]}</p>')
        if rows:
            translator.body.append(f'<ul class="chapter-cards">{"".join(rows)}</ul>')
        if to_come:
            translator.body.append(f'<ul class="chapters-to-come">{"".join(to_come)}</ul>')
    raise nodes.SkipNode


def _leave_out(translator: Any, node: nodes.Element) -> None:
    """Write nothing, in a format that has no buttons and no cards."""
    raise nodes.SkipNode


def _linker(translator: Any) -> Any:
    """Return the function that gives the address of a page, or of a file, from the page being written."""
    return functools.partial(translator.builder.get_relative_uri, translator.builder.current_docname)


def _card(chapter: Chapter, env: Any, link: Any) -> str:
    """Return the card of a written chapter; its title is the one link, and covers the card."""
    own = env.metadata[chapter.docname]["chapter"]
    counts = [(own["exercises"], "exercise"), (own["explorers"], "explorer")]
    times = [f"{minutes_to_read(own['words'])} min", f"runs in {to_run(chapter.runs)}"]
    holds = [counted(number, thing) for number, thing in counts if number]
    facts = [f"<span>{fact}</span>" for fact in times + holds]
    numbers = listed([str(need) for need in chapter.needs])
    return (
        f'<li class="chapter-card"><img src="{_picture(env.config, chapter.number)}" width="320" height="200"'
        f' alt="{html.escape(chapter.picture)}" loading="lazy">'
        f'<h4><a href="{link(chapter.docname)}"><span class="number">{chapter.number}</span>'
        f" {html.escape(env.titles[chapter.docname].astext())}</a></h4>"
        f'<p class="question">{html.escape(own["question"])}</p>'
        f'<p class="facts">{" · ".join(facts)}<br>{needs_in_words(chapter, numbers)}</p></li>'
    )


def _picture(config: Any, name: object) -> str:
    """Return the address of a picture, from the first page."""
    return f"{'../' * config.root_doc.count('/')}_static/pictures/{name}.webp"


def _row(chapter: Chapter) -> str:
    """Return the line of a chapter that is to come."""
    return (
        f'<li><span class="number">{chapter.number}</span> <strong>{html.escape(chapter.title)}.</strong>'
        f" <span>{html.escape(chapter.question)}</span></li>"
    )


# --- the foot of a page -------------------------------------------------------------------------------


def _name_neighbours(app: Sphinx, pagename: str, template: str, context: dict, doctree: object) -> None:
    """Give the previous and the next page their questions, for components/prev-next.html."""
    _, before, after = getattr(app.builder, "relations", {}).get(pagename, (None, None, None))
    for side, docname in {"prev": before, "next": after}.items():
        if docname in written():
            context[f"{side}_question"] = app.env.metadata[docname]["chapter"]["question"]


def _copy_script(app: Sphinx, error: Exception | None) -> None:
    """Copy the script that remembers what was read into the finished site."""
    if not error and app.builder.format == "html":
        shutil.copy2(Path(__file__).with_name("progress.js"), Path(app.outdir, "_static"))


def setup(app: Sphinx) -> dict[str, object]:
    """Connect the parts to the build."""
    app.add_node(ways_in, html=(_write_ways_in, None), latex=(_leave_out, None))
    app.add_node(chapter_cards, html=(_write_cards, None), latex=(_leave_out, None))
    app.add_directive("ways-in", WaysIn)
    app.add_directive("chapters", Cards)
    app.add_js_file("progress.js", loading_method="defer")
    app.connect("doctree-read", _note_page)
    app.connect("doctree-resolved", _add_line)
    app.connect("html-page-context", _name_neighbours)
    app.connect("build-finished", _copy_script)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
