"""The reference of the package: complete, tied to the chapters in both directions, and to its source."""

import functools
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sphinx.util.inventory import InventoryFile

import api
import notebooks
import vae_src as vs
from vae_src import widgets

SITE = notebooks.ROOT / "_build" / "html"
REFERENCE = SITE / "book" / "reference" / "api"


@functools.cache
def entries() -> dict[str, str]:
    """Return where the built site describes each name of the package: page#anchor, by the full name."""
    path = SITE / "objects.inv"
    if not path.exists():
        pytest.fail("the site is not built; run `make book` first", pytrace=False)
    with path.open("rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, uri: uri)
    return {
        name: uri
        for kind in ("py:function", "py:class", "py:exception", "py:method", "py:module")
        for name, (_, _, uri, _) in inventory.get(kind, {}).items()
    }


def full_name(name: str) -> str:
    """Return the name under which a public name of the package, or an explorer, is defined."""
    found = getattr(vs, name, None) or getattr(widgets, name)
    return f"{found.__module__}.{found.__qualname__}"


class Links(HTMLParser):
    """The links inside one kind of element, as (address, text)."""

    def __init__(self, text: str, tag: str, mark: str) -> None:
        super().__init__()
        self.tag, self.mark, self.depth, self.href = tag, mark, 0, ""
        self.found: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == self.tag and (self.depth or self.mark in (given.get("class") or "").split()):
            self.depth += 1
        if tag == "a":
            self.href = given.get("href", "") if self.depth else ""

    def handle_endtag(self, tag):
        self.depth -= bool(self.depth) and tag == self.tag
        self.href = "" if tag == "a" else self.href

    def handle_data(self, data):
        if self.href:
            self.found.append((self.href, data))


@pytest.mark.parametrize("name", [*vs.__all__, *widgets.__all__])
def test_each_public_name_is_described(name):
    assert full_name(name) in entries()


def test_labels_of_the_book_become_links():
    text = api.with_links("In the book: eq-kl, eq-vae-rate. See eq-kl.", "vae_src")
    assert text == "In the book: :eq:`eq-kl`, :eq:`eq-vae-rate`. See eq-kl."
    assert api.with_links("In the book: fig-explorer-draw.", "vae_src").endswith(
        ":numref:`fig-explorer-draw`."
    )


@pytest.mark.parametrize(
    ("written", "becomes"),
    [
        ("`elbo`", ":py:obj:`elbo <vae_src.objectives.elbo>`"),
        ("`vae_src.mlp_vae`", ":py:obj:`vae_src.mlp_vae <vae_src.models.mlp_vae>`"),
        ("`objectives`", ":py:mod:`objectives <vae_src.objectives>`"),
        ("`rsample`", "``rsample``"),  # torch's
        ("``elbo``", "``elbo``"),
        (":math:`elbo`", ":math:`elbo`"),
    ],
)
def test_names_of_the_package_become_links(written, becomes):
    assert api.with_links(f"See {written}, too.", "vae_src.estimators") == f"See {becomes}, too."


def test_source_links_lead_to_the_lines():
    site = notebooks.repository_url() + "/blob/main/"
    found = 0
    for page in REFERENCE.glob("*.html"):
        for entry in page.read_text("utf8").split('<dt class="sig')[1:]:
            name = re.search(r'id="([\w.]+)"', entry)
            link = re.search(rf'href="{site}([\w/.]+)#L(\d+)-L\d+"', entry.partition("</dt>")[0])
            if name and link:
                line = (notebooks.ROOT / link[1]).read_text("utf8").split("\n")[int(link[2]) - 1]
                assert re.match(rf"\s*(@|(def|class) {name[1].rpartition('.')[2]}\b)", line), name[1]
                found += 1
    assert found > 100


def test_nothing_of_a_docstring_is_left_undone():
    for path in REFERENCE.glob("*.html"):
        text = path.read_text("utf8")
        assert not re.search(r">[^<]*(book: eq-[a-z]|:eq:|:py:|Alias for field)", text), path.name


@pytest.mark.parametrize(
    ("chapter", "code", "name"),
    [
        ("foundations/elbo", "elbo", "vae_src.objectives.elbo"),
        ("vae/variational-autoencoder", "fit", "vae_src.training.fit"),
        ("foundations/latent-variable-models", "em", "vae_src.exact.mixture.em"),
        ("foundations/autoencoders", "CodeExplorer", "vae_src.widgets.codes.CodeExplorer"),
    ],
)
def test_code_and_entry_lead_to_each_other(chapter, code, name):
    page, anchor = entries()[name].split("#")
    anchor = name if anchor == "$" else anchor
    source = SITE / "book" / f"{chapter}.html"
    links = Links(source.read_text("utf8"), "div", "highlight").found
    there = [text for href, text in links if href.endswith(f"{Path(page).name}#{anchor}")]
    assert code in there
    entry = (SITE / page).read_text("utf8").partition(f'id="{anchor}"')[2]
    back = Links(entry.partition('<dt class="sig')[0], "p", "used-in").found
    assert [href for href, _ in back if f"{chapter}.html" in href]
