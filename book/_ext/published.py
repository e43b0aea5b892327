"""What the site needs where it is published: its address, what a link to it shows, a page for lost readers.

GitHub Pages serve the site at the address that the repository's name gives; _config.yml names the repository.
They show 404.html for every address that leads nowhere, at whatever depth, so its links begin at the root.
"""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.docutils import SphinxDirective

import chapters
import notebooks

CITATION = notebooks.ROOT / "CITATION.cff"
LOST = "404"
LOST_PAGE = """<section><h1>No page has this address</h1>
<p>It may be mistyped, or the page may have moved. The book is still here: search it, or choose a chapter.</p>
<form class="lost-search" role="search" action="search.html"><label for="lost-words">Search the book</label>
<input id="lost-words" type="search" name="q"> <button type="submit">Search</button></form>
<ul class="lost-chapters">
<li><span class="number"></span> <a href="{first}">The first page</a></li>{chapters}</ul></section>"""


def _set_address(app: Sphinx, config: Config) -> None:
    """Tell the theme, the sitemap and the links' previews where the site will be."""
    config.html_baseurl = config.ogp_site_url = notebooks.site_url()


def description(app: Sphinx, pagename: str, doctree: nodes.document) -> str:
    """Return what a page is about: a chapter's question, or another page's first paragraph."""
    if pagename in chapters.written():
        return app.env.metadata[pagename]["chapter"]["question"]
    first = next((p for p in doctree.findall(nodes.paragraph) if p.astext()), nodes.paragraph())
    return " ".join(first.astext().split())


def _describe(app: Sphinx, pagename: str, template: str, context: dict, doctree: Any) -> None:
    """Give a page its description, before the extension that writes previews would make one up."""
    if doctree:
        text = description(app, pagename, doctree)
        context["meta"] = {**(context["meta"] or {}), "og:description": text}
        context["metatags"] += f'<meta name="description" content="{html.escape(text)}" />\n'


# --- the page for addresses that lead nowhere ---------------------------------------------------------


def _lost_page(app: Sphinx) -> Iterator[tuple[str, dict[str, str], str]]:
    """Yield the page, with a search field and the chapters."""
    entry = '<li><span class="number">{1}</span> <a href="{0}.html">{2}</a></li>'
    rows = [
        entry.format(c.docname, c.number, html.escape(app.env.titles[c.docname].astext()))
        for c in chapters.written().values()
    ]
    body = LOST_PAGE.format(first=f"{app.config.root_doc}.html", chapters="".join(rows))
    yield LOST, {"title": "No such page", "body": body}, "page.html"


def rooted(page: str, root: str) -> str:
    """Return a page whose addresses begin at the root: `_static/x` becomes `/vae-book/_static/x`."""

    def attribute(match: re.Match[str]) -> str:
        return f'{match[1]}"{root}{match[2].removeprefix("./")}"'

    page = re.sub(r'(\b(?:href|src|action|data-content_root)=)"(?![#/]|[a-z]+:)([^"]*)"', attribute, page)
    return re.sub(r'"(_static/[^"]*)"', rf'"{root}\1"', page)  # in scripts


def _finish(app: Sphinx, error: Exception | None) -> None:
    """Root the page of lost readers, and tell search engines where the list of pages is."""
    if error or app.builder.name != "html":
        return
    path = Path(app.outdir, f"{LOST}.html")
    path.write_text(rooted(path.read_text("utf8"), urlsplit(notebooks.site_url()).path), "utf8")
    robots = f"User-agent: *\nAllow: /\nSitemap: {notebooks.site_url()}sitemap.xml\n"
    Path(app.outdir, "robots.txt").write_text(robots, "utf8")


# --- how to cite the book ---------------------------------------------------------------------------------


def bibtex() -> str:
    """Return the BibTeX entry of the book, from CITATION.cff."""
    book = yaml.safe_load(CITATION.read_text("utf8"))["preferred-citation"]
    return "\n".join(
        [
            "@misc{vae-book,",
            f"  title  = {{{book['title']}}},",
            f"  author = {{{{{' and '.join(author['name'] for author in book['authors'])}}}}},",
            f"  year   = {{{book['year']}}},",
            f"  note   = {{Version {book['version']}}},",
            f"  url    = {{{book['url']}}},",
            "}",
        ]
    )


class Citation(SphinxDirective):
    """The entry, as a block to copy."""

    def run(self) -> list[nodes.Node]:
        """Return the block."""
        self.env.note_dependency(str(CITATION))
        return [nodes.literal_block(bibtex(), bibtex(), language="bibtex")]


def setup(app: Sphinx) -> dict[str, object]:
    """Connect the parts; the last step comes after light_pages.py."""
    app.add_directive("bibtex-of-the-book", Citation)
    app.connect("config-inited", _set_address)
    app.connect("html-collect-pages", _lost_page)
    app.connect("html-page-context", _describe, priority=400)
    app.connect("build-finished", _finish, priority=950)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
