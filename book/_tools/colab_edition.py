"""The Colab edition of the notebooks, written with the site, and a button on each page that opens it there.

The numbers and addresses are those of the build: an equation has the same number in Colab as on the page.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

import colab
import notebooks


def site(app: Sphinx) -> colab.Site:
    """Gather what the build knows of pages, labels and cited works."""

    @functools.cache
    def glued(name: str) -> dict[str, object]:
        return colab.glued(notebooks.read(Path(app.env.doc2path(name))))

    return colab.Site(
        title=app.config.html_title,
        address=app.config.html_baseurl,
        pages={name: _page(app, name) for name in app.env.found_docs},
        labels=dict(_labels(app)),
        works=dict(_works(app)),
        glued=glued,
    )


def _page(app: Sphinx, name: str) -> colab.Page:
    """Return a page's address, title and numbers."""
    numbers = [".".join(map(str, n)) for n in app.env.toc_secnumbers.get(name, {}).values() if n]
    return colab.Page(app.builder.get_target_uri(name), app.env.titles[name].astext(), numbers)


def _labels(app: Sphinx) -> Iterator[tuple[str, colab.Place]]:
    """Yield every label, with its place and its number."""
    data, proofs = app.env.domaindata, getattr(app.env, "proof_list", {})  # as sphinx-proof keeps them
    places = {label: (page, anchor) for label, (page, anchor) in data["std"]["anonlabels"].items()}
    places |= {label: (page, f"equation-{label}") for label, (page, _) in data["math"]["objects"].items()}
    places |= {label: (proof["docname"], label) for label, proof in proofs.items()}
    for label, (page, anchor) in places.items():
        numbered = app.env.toc_fignumbers.get(page, {}).values()
        number = next((numbers[anchor] for numbers in numbered if anchor in numbers), ())
        address = f"{app.builder.get_target_uri(page)}#{anchor}"
        yield label, colab.Place(address, ".".join(map(str, number)))


def _works(app: Sphinx) -> Iterator[tuple[str, colab.Work]]:
    """Yield every work of the bibliography, by its key."""
    for citation in app.env.domaindata["cite"]["citations"]:
        people = citation.entry.persons["author"]
        names = [" ".join(map(str, p.rich_prelast_names + p.rich_last_names)) for p in people]
        authors = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
        address = f"{app.builder.get_target_uri(citation.bibliography_key.docname)}#{citation.citation_id}"
        yield citation.key, colab.Work(address, authors, citation.entry.fields["year"])


def _write_editions(app: Sphinx, error: Exception | None) -> None:
    """Write the edition of every notebook of the book into the finished site."""
    if error or app.builder.name != "html":
        return
    whole = site(app)
    for source in notebooks.notebook_paths():
        name = source.relative_to(app.srcdir).with_suffix("").as_posix()
        try:
            edition = colab.convert(notebooks.read(source), name, whole)
        except colab.Trouble as trouble:
            raise ExtensionError(f"The Colab edition: {trouble}") from None
        target = Path(app.outdir, colab.path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        notebooks.write(target, notebooks.dumps(edition))


def _add_button(app: Sphinx, pagename: str, template: str, context: dict, doctree: object) -> None:
    """Put a button that opens the edition first among the buttons at the top of a notebook's page."""
    if context.get("page_source_suffix") == ".ipynb":
        button = {
            "type": "link",
            "text": "Open in Colab",
            "url": colab.launch_url(pagename),
            "label": "colab",
        }
        context["header_buttons"].insert(0, button)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the parts; the button comes after the theme has made its own."""
    app.connect("html-page-context", _add_button, priority=600)
    app.connect("build-finished", _write_editions)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
