"""The built site: whole, without a foreign request, and right in a browser, light and dark.

`make book` builds it, `make test` builds and tests it. The browser tests need an installed Chromium;
without one they are skipped, except in continuous integration.
"""

import functools
import http.server
import re
import threading
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from conftest import complains, settle, violations

import notebooks

SITE = notebooks.ROOT / "_build" / "html"
SOURCES = [str(page.relative_to(notebooks.ROOT).with_suffix(".html")) for page in notebooks.pages()]
PAGES = [*SOURCES, "genindex.html", "search.html"]
each_page = pytest.mark.parametrize("name", PAGES)

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "audio": "src", "video": "src"}
FOREIGN = re.compile(r"^(?:https?:)?//")
MARKS = 'script[type="application/vnd.jupyter.widget-view+json"]'


class Page(HTMLParser):
    """What a page defines and asks for: ids, links, files it loads, pictures, the article's text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.repeated: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.text = path.read_text("utf8")
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        """Note what one element brings."""
        given = dict(attrs)
        if (name := given.get("id")) is not None:
            self.repeated |= self.ids & {name}
            self.ids |= {name}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "link" and "stylesheet" in given.get("rel", ""):
            self.loads.append(given["href"])
        if tag in LOADS and given.get(LOADS[tag]):
            self.loads.append(given[LOADS[tag]])
        if tag == "img":
            self.pictures.append(given)


@functools.cache
def page(name: str) -> Page:
    """Return one parsed page of the built site."""
    path = SITE / name
    if not path.exists():
        pytest.fail(f"{name} is not built; run `make book` first", pytrace=False)
    return Page(path)


@each_page
def test_links_lead_somewhere(name):
    for link in page(name).links + page(name).loads:
        target, anchor = urldefrag(unquote(link).split("?")[0] if "#" not in link else unquote(link))
        if FOREIGN.match(target) or target.startswith(("mailto:", "data:", "javascript:")):
            continue
        path = (SITE / name).parent.joinpath(target).resolve() if target else SITE / name
        assert path.exists(), f"{name} links to {link}"
        if anchor and path.suffix == ".html":
            assert anchor in page(str(path.relative_to(SITE))).ids, f"{name}: no {link}"


@each_page
def test_ids_are_unique(name):
    assert page(name).repeated == set()


@each_page
def test_nothing_is_loaded_from_elsewhere(name):
    assert [url for url in page(name).loads if FOREIGN.match(url)] == []


@each_page
def test_pictures_have_alt_text(name):
    for picture in page(name).pictures:
        alt = picture.get("alt")
        assert alt, picture
        assert "_images/" not in alt, f"alt text is a file name: {alt}"


@each_page
def test_no_traceback_and_no_machine_path(name):
    assert "Traceback (most recent call last)" not in page(name).text
    assert not notebooks.MACHINE_PATH.search(page(name).text)


def test_index_opens_the_first_page():
    index = page("index.html")
    assert '<html lang="en">' in index.text
    assert "<title>" in index.text
    assert index.links == [SOURCES[0]]


def test_chapters_have_the_numbers_of_the_map():
    """On the first page, in their titles and in the contents, where some chapters are still to come."""
    first = page(SOURCES[0])
    book_map = re.findall(r'<ol class="arabic[^>]*?(?: start="(\d+)")?>(.*?)</ol>', first.text, re.S)
    rows = [
        (int(start or 1) + k, re.search(r'class="xref[^>]*?href="([^"]+)"|href="([^"#]+\.html)"', row))
        for start, rows in book_map
        for k, row in enumerate(re.findall(r"<li>(.*?)</li>", rows, re.S))
    ]
    links = {link[1] or link[2]: number for number, link in rows if link}
    assert len(links) >= 5
    for link, number in links.items():
        chapter = page(str(Path(SOURCES[0]).parent / link)).text
        assert re.search(rf'<h1><span class="section-number">{number}\.', chapter), link
        assert re.search(rf'href="{re.escape(link)}">\s*{number}\.', first.text), f"the contents of {link}"
        equations = re.findall(r'<span class="eqno">\((\d+)\.\d+\)', chapter)
        assert set(equations) == {str(number)}, link


EQUATION_LINK = re.compile(r"\[([\w ]+)\]\(#eq-[\w-]+\)")


@each_page
def test_links_to_equations_keep_their_words(name):
    source = (notebooks.ROOT / name).with_suffix(".ipynb")
    texts = (
        [c.source for c in notebooks.read(source).cells if c.cell_type == "markdown"]
        if source.exists()
        else []
    )
    linked = {words for text in texts for words in EQUATION_LINK.findall(text)}
    for words in linked:
        number = rf"{re.escape(words)}(?:</span>|\s)*\xa0<a [^>]*>(?:<span[^>]*>)?\(\d+\.\d+\)"
        assert re.search(number, page(name).text), f"{name}: {words}"


def test_site_has_what_mathjax_and_search_engines_need():
    for name in ("_static/mathjax/tex-chtml.js", "sitemap.xml", "_static/card.png"):
        assert (SITE / name).exists(), name


# --- in a browser ---------------------------------------------------------------------------------


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that prints nothing."""

    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture(scope="module")
def address():
    page("index.html")  # fails with advice where nothing is built
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def opened(browser, address):
    """Return a function that opens a page, and hold everything it did to the site itself."""
    tabs, trouble = [], []

    def allowed(url: str) -> bool:
        return url.startswith((address, f"file://{SITE}", "data:", "blob:"))

    def open_page(url, width=1280, scheme="light", offline=False, script=True):
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            offline=offline,
            java_script_enabled=script,
        )
        tabs.append(context)
        tab = context.new_page()
        context.route(
            lambda url: not allowed(url), lambda route: (trouble.append(route.request.url), route.abort())
        )
        tab.on("pageerror", lambda error: trouble.append(str(error)))
        tab.on("console", lambda m: trouble.append(m.text) if complains(m) else None)
        tab.on("response", lambda r: trouble.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        if script:  # without, the page's scripts fail to load: that is what was asked for
            tab.on("requestfailed", lambda r: trouble.append(f"{r.failure}: {r.url}"))
        tab.goto(url)
        tab.wait_for_load_state("networkidle")
        if script and url != "about:blank":
            tab.evaluate("window.MathJax && MathJax.startup && MathJax.startup.promise")
            if tab.locator(MARKS).count():
                tab.wait_for_selector("html[data-explorers=ready]")
        return tab

    yield open_page
    for context in tabs:
        context.close()
    assert trouble == []


@each_page
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_in_a_browser(opened, address, name, scheme):
    tab = opened(f"{address}/{name}", scheme=scheme)
    assert tab.locator("html").get_attribute("data-theme") == scheme
    formulas = tab.locator(".math").count()
    assert tab.locator("mjx-container").count() >= formulas
    # MathJax writes a syntax error as merror, and the name of an unknown command in red.
    wrong = tab.locator('mjx-merror, mjx-container [style*="color: red"]')
    assert wrong.count() == 0, wrong.first.evaluate("node => node.outerHTML")
    assert violations(tab) == []


@each_page
@pytest.mark.parametrize("width", [360, 1600])
def test_page_fits_phones_and_wide_screens(opened, address, name, width):
    tab = opened(f"{address}/{name}", width=width)
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= width


@each_page
def test_page_is_whole_from_a_folder_without_a_network(opened, name):
    tab = opened(f"file://{SITE}/{name}", offline=True)
    assert tab.locator("mjx-container").count() >= tab.locator(".math").count()
    icons = tab.locator("i.fa-solid, svg.svg-inline--fa")
    assert icons.count() == 0 or tab.locator("svg.svg-inline--fa").count() > 0
    read_through(tab)
    assert tab.locator(".vae-explorer").count() == tab.locator(MARKS).count()


def test_book_opens_from_its_folder(opened):
    tab = opened(f"file://{SITE}/index.html")
    tab.wait_for_url(f"file://{SITE}/{SOURCES[0]}")
    assert tab.locator(".bd-article h1").count() == 1


# --- explorers ------------------------------------------------------------------------------------

WITH_EXPLORERS = [
    name for name in SOURCES if (SITE / name).exists() and "widget-view+json" in page(name).text
]
each_page_with_explorers = pytest.mark.parametrize("name", WITH_EXPLORERS)


def test_pages_that_must_have_explorers_have_them():
    wanted = {"intro", "variational-autoencoder", "explorers"}
    wanted |= {"autoencoders", "latent-variable-models", "variational-inference"}
    wanted |= {"elbo", "reparameterization", "amortized-inference"}
    assert {Path(name).stem for name in WITH_EXPLORERS} >= wanted


def read_through(tab) -> None:
    """Scroll down a page as its reader would, so that every explorer has come near."""
    for place in tab.locator(".vae-live").all():
        place.scroll_into_view_if_needed()
        place.locator(".vae-explorer").wait_for()
    tab.wait_for_load_state("networkidle")


@each_page_with_explorers
def test_every_explorer_comes_alive_and_answers(opened, address, name):
    tab = opened(f"{address}/{name}")
    read_through(tab)
    explorers = tab.locator(".vae-explorer").all()
    assert len(explorers) == tab.locator(MARKS).count() > 0
    for explorer in explorers:
        figure = explorer.locator("xpath=ancestor::figure[1]")
        assert figure.locator("img").count() == 0, "the still picture is for pages without script"
        assert figure.locator("figcaption").is_visible()
        canvas = explorer.locator("canvas[role=application]").first
        before = canvas.evaluate("c => c.toDataURL()")
        canvas.press("Shift+ArrowLeft")
        settle(tab)
        assert canvas.evaluate("c => c.toDataURL()") != before


STICKING_OUT = """
() => [...document.querySelectorAll(".vae-explorer")].flatMap((explorer) => {
  const right = explorer.getBoundingClientRect().right + 1;
  return [...explorer.querySelectorAll("*")]
    .filter((part) => part.getBoundingClientRect().right > right && !part.closest(".vae-hidden"))
    .map((part) => `${explorer.className}: ${part.className} ${part.textContent.slice(0, 30)}`);
})
"""


@each_page_with_explorers
@pytest.mark.parametrize("width", [360, 768, 1280, 1600])
def test_nothing_sticks_out_of_an_explorer(opened, address, name, width):
    tab = opened(f"{address}/{name}", width=width)
    read_through(tab)
    assert tab.evaluate(STICKING_OUT) == []


@each_page_with_explorers
def test_without_script_the_still_picture_stands(opened, address, name):
    tab = opened(f"{address}/{name}", script=False)
    for mark in tab.locator(MARKS).all():
        still = mark.locator("xpath=preceding-sibling::noscript[1]//img")
        assert still.is_visible()
        assert len(still.get_attribute("alt").split()) >= 5
        assert still.evaluate("img => img.naturalWidth") > 500


RUNTIME_TAG = re.compile(r'<script type="application/vnd\.jupyter.*?</script>|<noscript>.*?</noscript>', re.S)


@each_page_with_explorers
def test_explorers_weigh_at_most_a_megabyte_and_a_half(opened, address, name):
    """All that the page loads, beside what it loads when explorers and still pictures are cut out of it.

    The gallery may grow by as much as it opens, and then by as much again for each explorer come to.
    """
    whole = page(name).text
    bare = re.sub(r"<script src=[^>]*explorers\.js.*?</script>", "", RUNTIME_TAG.sub("", whole))

    def weights(text: str) -> list[int]:
        tab, loaded = opened("about:blank"), {}
        tab.on("response", lambda r: loaded.update({r.url: int(r.headers["content-length"])}))
        tab.route(f"{address}/{name}", lambda route: route.fulfill(body=text, content_type="text/html"))
        tab.goto(f"{address}/{name}")
        tab.wait_for_load_state("networkidle")
        found = [sum(loaded.values())]
        for place in tab.locator(".vae-live").all():
            place.scroll_into_view_if_needed()
            place.locator(".vae-explorer").wait_for()
            tab.wait_for_load_state("networkidle")
            found.append(sum(loaded.values()))
        return found

    at_first, *later = (weight - weights(bare)[0] for weight in weights(whole))
    assert 5e3 < at_first <= 1.5e6, f"{at_first / 1e6:.2f} MB"
    assert later[-1] > 2e4, "no explorer was loaded"
    if Path(name).stem == "explorers":
        assert max(now - before for before, now in pairwise([at_first, *later])) <= 1.5e6
    else:
        assert max(later) <= 1.5e6, f"{max(later) / 1e6:.2f} MB"


@each_page_with_explorers
def test_what_is_far_below_has_not_been_loaded(opened, address, name):
    tab = opened(f"{address}/{name}")
    far = [p for p in tab.locator(".vae-live").all() if p.bounding_box()["y"] > 900 + 900]
    assert [place.locator(".vae-explorer").count() for place in far] == [0] * len(far)
    assert far or Path(name).stem == "intro"


@each_page_with_explorers
def test_an_explorer_that_cannot_start_leaves_its_still_picture(browser, address, name):
    tab = browser.new_page()
    tab.route(re.compile(r"/explorers/[0-9a-f]{16}\.js"), lambda route: route.abort())
    tab.goto(f"{address}/{name}")
    tab.wait_for_selector("html[data-explorers=ready]")
    for count, mark in enumerate(tab.locator(MARKS).all(), 1):
        mark.evaluate("mark => mark.nextElementSibling.scrollIntoView()")
        tab.wait_for_function(f"document.querySelectorAll('img + {MARKS}').length >= {count}")
    assert tab.locator(f"img + {MARKS}").count() == tab.locator(MARKS).count()
    tab.close()


def test_the_first_page_greets_with_an_explorer(opened, address):
    tab = opened(f"{address}/{SOURCES[0]}")
    for part in (".vae-map", ".vae-decoded canvas", ".vae-film"):
        box = tab.locator(part).bounding_box()
        assert box["y"] + box["height"] <= 900, f"{part} is below the fold"
