"""Links from the chapters to the glossary, whose entries appear where a reader points at a link.

In each section of a chapter, the first mention of a term leads to its entry; of a term that is everywhere,
the first in the chapter. A term is linked in running text only: not in headings, formulas, captions, tables,
boxes and folds, and not in a section that defines it in bold.
Each line above an entry is a form that is looked for, with or without a final s. A sense in brackets, as in
"rate (of a code)", keeps a line from being found: the word has everyday senses, too.

The first sentence of an entry comes with each page that links to it, hidden, for screen readers and for
glossary.js, which shows it.
"""

import functools
import html
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

import chapters

GLOSSARY = "book/reference/glossary"
RUNNING = nodes.document | nodes.section | nodes.bullet_list | nodes.enumerated_list | nodes.list_item
EVERYWHERE = {"autoencoder", "decoder", "encoder", "nat"}
# What holds a term and means something else.
OTHERWISE = ("expected log-likelihood", "Hamiltonian Monte Carlo", "is no evidence", "prior opinion")
SENSE = re.compile(r" \(.*\)")
FIRST_SENTENCE = re.compile(r".*?\.(?=\s+[A-Z]|$)", re.S)


@dataclass(frozen=True)
class Entry:
    """One entry of the glossary."""

    terms: tuple[str, ...]
    anchor: str
    meaning: str  # its first sentence

    @property
    def name(self) -> str:
        """The term that stands first, without its sense."""
        return SENSE.sub("", self.terms[0])

    @property
    def note(self) -> str:
        """The id of the hidden sentence in the pages that link here."""
        return self.anchor.replace("term-", "meaning-", 1)


class glossary_link(nodes.Inline, nodes.TextElement):
    """A word that leads to its entry."""


class glossary_notes(nodes.General, nodes.Element):
    """The place of the sentences that a page needs."""


def entries(glossary: nodes.document) -> list[Entry]:
    """Return the entries of a page with a glossary."""
    found = []
    for part in glossary.findall(addnodes.glossary):
        for item in part.findall(nodes.definition_list_item):
            terms = [child for child in item.children if isinstance(child, nodes.term)]
            text = " ".join(next(item.findall(nodes.definition)).astext().split())
            meaning = FIRST_SENTENCE.match(text)
            names = tuple(term.astext() for term in terms)
            found.append(Entry(names, terms[0]["ids"][0], meaning[0] if meaning else text))
    return found


def plain(term: str) -> str:
    """Return a term as it is compared: without its sense, hyphens, capitals and a final s."""
    return SENSE.sub("", term).replace("-", " ").casefold().removesuffix("s")


def entry_for(bold: str, glossary: list[Entry]) -> Entry | None:
    """Return the entry of a word that a chapter sets in bold: "active" finds "active latent", too."""
    word = plain(" ".join(bold.split()))
    matches = {
        plain(term) == word: entry
        for entry in glossary
        for term in entry.terms
        if f"{plain(term)} ".startswith(f"{word} ")
    }
    return matches.get(True) or matches.get(False)


def form(term: str) -> str:
    """Return a pattern for a term: on two lines, with a hyphen, at the start of a sentence, in the plural."""
    words = [re.escape(word).replace("'", "['’]") for word in re.split("[ -]", term)]
    if words[0].islower():
        words[0] = f"[{words[0][0].upper()}{words[0][0]}]{words[0][1:]}"
    return r"[\s-]".join(words) + "s?"


def finder(glossary: list[Entry]) -> re.Pattern[str]:
    """Return a pattern for all that may be linked, longer terms first; the group's name tells the entry."""
    forms = [(term, k) for k, entry in enumerate(glossary) for term in entry.terms if not SENSE.search(term)]
    forms.sort(key=lambda found: -len(found[0]))
    groups = [f"(?P<e{k}_{n}>{form(term)})" for n, (term, k) in enumerate(forms)]
    choice = "|".join([*map(form, OTHERWISE), *groups])
    return re.compile(rf"(?<![\w–-])(?:{choice})(?![\w–-])")


def sections(document: nodes.document) -> list[list[nodes.Node]]:
    """Return what stands before a chapter's first section, and each of its sections."""
    chapter = next(document.findall(nodes.section))
    own = [child for child in chapter.children if isinstance(child, nodes.section)]
    return [[child for child in chapter.children if child not in own], *([section] for section in own)]


def running_text(parts: list[nodes.Node]) -> Iterator[nodes.paragraph]:
    """Yield the paragraphs that are read in one go, in order: none in a box, and none that is folded away."""
    folds = 0
    for node in (node for part in parts for node in part.findall()):
        if isinstance(node, nodes.raw):
            folds += node.astext().count("<details") - node.astext().count("</details")
        elif isinstance(node, nodes.paragraph) and not folds and not node["classes"]:
            above, is_running = node.parent, True
            while above is not None:
                is_running, above = is_running and isinstance(above, RUNNING), above.parent
            if is_running:
                yield node


def link_terms(document: nodes.document, glossary: list[Entry], address: str) -> list[Entry]:
    """Link the first mention of each term in each section of a chapter; return the entries it leads to."""
    pattern, used, known = finder(glossary), {}, set()
    for parts in sections(document):
        bold = [strong.astext() for part in parts for strong in part.findall(nodes.strong)]
        done = {entry for text in bold if (entry := entry_for(text, glossary))} | known
        for paragraph in list(running_text(parts)):
            for text in [child for child in paragraph.children if isinstance(child, nodes.Text)]:
                pieces, end = [], 0
                for match in pattern.finditer(text):
                    entry = match.lastgroup and glossary[int(match.lastgroup[1:].partition("_")[0])]
                    if entry and entry not in done:
                        done.add(entry)
                        used[entry] = None
                        uri = f"{address}#{entry.anchor}"
                        link = glossary_link("", match[0], refuri=uri, note=entry.note)
                        pieces += [nodes.Text(text[end : match.start()]), link]
                        end = match.end()
                if pieces:
                    paragraph.replace(text, [*pieces, nodes.Text(text[end:])])
        known = {entry for entry in done if entry.name in EVERYWHERE}
    return list(used)


@functools.cache
def _entries(env: Any) -> list[Entry]:
    """Return the entries of the book's glossary."""
    return entries(env.get_doctree(GLOSSARY))


def _link(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Link the terms of one chapter, and leave the sentences at its end."""
    if docname in chapters.written() and app.builder.format == "html":
        address = app.builder.get_relative_uri(docname, GLOSSARY)
        doctree += glossary_notes(entries=link_terms(doctree, _entries(app.env), address))


def _open_link(translator: Any, node: glossary_link) -> None:
    """Write the beginning of a link."""
    described = f'href="{html.escape(node["refuri"])}" aria-describedby="{node["note"]}"'
    translator.body.append(f'<a class="glossary-link" {described}>')


def _close_link(translator: Any, node: glossary_link) -> None:
    """Write the end of a link."""
    translator.body.append("</a>")


def _write_notes(translator: Any, node: glossary_notes) -> None:
    """Write the sentences; a browser shows none before glossary.js asks it to."""
    for entry in node["entries"]:
        name, meaning = html.escape(entry.name), html.escape(entry.meaning, quote=False)
        translator.body.append(
            f'<div class="glossary-note" popover="manual" role="tooltip" id="{entry.note}">'
            f"<b>{name}</b> {meaning}</div>\n"
        )
    raise nodes.SkipNode


def _copy_script(app: Sphinx, error: Exception | None) -> None:
    """Copy the script that shows the sentences into the finished site."""
    if not error and app.builder.format == "html":
        shutil.copy2(Path(__file__).with_name("glossary.js"), Path(app.outdir, "_static"))


def setup(app: Sphinx) -> dict[str, object]:
    """Connect the parts; priorities put ours before the line that chapters.py adds."""
    app.add_node(glossary_link, html=(_open_link, _close_link))
    app.add_node(glossary_notes, html=(_write_notes, None))
    app.add_js_file("glossary.js", loading_method="defer")
    app.connect("doctree-resolved", _link, priority=400)
    app.connect("build-finished", _copy_script)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
