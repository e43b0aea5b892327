"""The built site: whole, without a foreign request, and right in a browser, light and dark.

`make book` builds it, `make test` builds and tests it. The browser tests need an installed Chromium;
without one they are skipped, except in continuous integration.
"""

import functools
import gzip
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from conftest import serving, settle, violations, visits

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


FORMULA = re.compile(r'<(span|div) class="math notranslate nohighlight"[^>]*>(.*?)</\1>', re.S)


@each_page
def test_formulas_are_drawn(name):
    """Each by MathJax, with MathML for screen readers; an error would be an merror, or stand in red."""
    for _, formula in FORMULA.findall(page(name).text):
        assert formula.count("<mjx-container") == formula.count("<mjx-assistive-mml") == 1
        assert not re.search(r"merror|color: ?red", formula)


@each_page
def test_no_traceback_and_no_machine_path(name):
    assert "Traceback (most recent call last)" not in page(name).text
    assert not notebooks.MACHINE_PATH.search(page(name).text)


def test_index_opens_the_first_page():
    index = page("index.html")
    assert '<html lang="en">' in index.text
    assert "<title>" in index.text
    assert index.links == [SOURCES[0]]


def test_chapters_have_the_numbers_of_the_cards():
    """On the first page, in their titles and in the contents, where some chapters are still to come."""
    first = page(SOURCES[0])
    cards = re.findall(
        r'<li class="chapter-card">.*?<a href="([^"]+)"><span class="number">(\d+)', first.text
    )
    to_come = re.findall(r'<li><span class="number">(\d+)</span>', first.text)
    assert len(cards) >= 8
    assert [int(n) for _, n in cards] + [int(n) for n in to_come] == list(range(1, 19))
    for link, number in cards:
        chapter = page(str(Path(SOURCES[0]).parent / link)).text
        assert re.search(rf'<h1><span class="section-number">{number}\.', chapter), link
        assert re.search(rf'href="{re.escape(link)}">\s*{number}\.', first.text), f"the contents of {link}"
        equations = re.findall(r'<span class="eqno">\((\d+)\.\d+\)', chapter)
        assert set(equations) == {number}, link


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


def test_site_has_what_formulas_and_search_engines_need():
    for name in ("_static/mathjax/MathJax_Main-Regular.woff", "sitemap.xml", "_static/card.png"):
        assert (SITE / name).exists(), name


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address():
    page("index.html")  # fails with advice where nothing is built
    with serving(SITE) as address:
        yield address


@pytest.fixture
def opened(browser, address):
    """Return a function that opens a page, and hold everything it did to the site itself."""
    with visits(browser, allowed=(address, f"file://{SITE}", "data:", "blob:")) as visit:

        def open_page(url, width=1280, scheme="light", script=True, **settings):
            tab = visit(url, width, scheme, java_script_enabled=script, **settings)
            if script and tab.locator(MARKS).count():
                tab.wait_for_selector("html[data-explorers=ready]")
            return tab

        yield open_page


@each_page
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
def test_page_in_a_browser(opened, address, name, scheme, width):
    tab = opened(f"{address}/{name}", width=width, scheme=scheme)
    assert tab.locator("html").get_attribute("data-theme") == scheme
    assert violations(tab) == []


# What a page shows where the book's own fonts came too late and the usual ones are not installed.
BROAD_FONTS = """
:root { --book-serif: "DejaVu Serif", serif !important; --book-sans: "DejaVu Sans", sans-serif !important; }
"""


@each_page
@pytest.mark.parametrize("width", [360, 1600])
def test_page_fits_phones_and_wide_screens(opened, address, name, width):
    tab = opened(f"{address}/{name}", width=width)
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= width
    tab.add_style_tag(content=BROAD_FONTS)
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= width


@each_page
def test_page_is_whole_from_a_folder_without_a_network(opened, name):
    tab = opened(f"file://{SITE}/{name}", offline=True)
    fonts = tab.evaluate("[...document.fonts].filter(f => f.status == 'loaded').map(f => f.family)")
    assert any("Font Awesome" in font for font in fonts), "the icons' font is missing"
    read_through(tab)
    assert tab.locator(".vae-explorer").count() == tab.locator(MARKS).count()


def test_book_opens_from_its_folder(opened):
    tab = opened(f"file://{SITE}/index.html")
    tab.wait_for_url(f"file://{SITE}/{SOURCES[0]}")
    assert tab.locator(".bd-article h1").count() == 1


# --- light pages ---------------------------------------------------------------------------------

SCRIPT = re.compile(r"<script\b([^>]*)>")
AFTER_PAINT = re.compile(r"const start = \(\) => document\.body\.append\(\.\.\.(\[.*?\])")
FIRST_LOAD = 420_000  # bytes, packed; an explorer comes after


@each_page
def test_nothing_holds_up_the_first_paint(name):
    head, body = page(name).text.split("<body", 1)
    assert [tag for tag in SCRIPT.findall(head + body) if "src=" in tag] == [], "they are asked for later"
    assert ".js" in AFTER_PAINT.search(body)[1]
    assert "fontawesome.js" not in page(name).text
    assert 'rel="preload"' not in head
    assert "localStorage.getItem" in head, "the theme is set before the first paint"


@each_page
def test_scripts_are_where_a_page_needs_them(name):
    text = page(name).text
    assert "mathjax@" not in text
    assert "window.MathJax" not in text
    assert ("copybutton.js" in text) == ('<div class="highlight' in text)
    assert ("explorers.js" in text) == ("widget-view+json" in text)
    assert "design-tabs.js" not in text
    assert not re.search(r'<span class="(?:n|p|w)">[^<]', text), "elements without a colour of their own"


@each_page
def test_pictures_keep_their_room_and_wait_their_turn(name):
    article = page(name).text.partition("<article")[2]
    shown = re.findall(r"<img\b[^>]*>", re.sub(r"<noscript>.*?</noscript>", "", article, flags=re.S))
    assert all('loading="lazy"' in tag for tag in shown[1:])
    for picture in page(name).pictures:
        assert int(picture["width"]) > 0, picture
        assert int(picture["height"]) > 0, picture
        assert not re.search(r"_images/.*\.png", picture["src"]), picture


SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => shifts.push(...list.getEntries().filter((e) => !e.hadRecentInput)
  .map((e) => [e.value, e.sources.map((s) => s.node?.className ?? s.node?.textContent).join(", ")])))
  .observe({ type: "layout-shift", buffered: true });
"""


@each_page
@pytest.mark.parametrize("width", [412, 1280])
def test_page_does_not_jump_while_it_opens(browser, address, name, width):
    """Not even where its letters come half a second after its words, as on a slow line."""
    tab = browser.new_page(viewport={"width": width, "height": 823})
    tab.add_init_script(SHIFTS)
    packed, letters = {}, []
    tab.on("response", lambda r: packed.update({r.url: len(gzip.compress(r.body())) if r.ok else 0}))
    tab.route("**/_static/fonts/*", lambda route: letters.append(route))
    tab.goto(f"{address}/{name}", wait_until="domcontentloaded")
    tab.wait_for_timeout(500)
    for letter in letters:
        letter.continue_()
    tab.wait_for_load_state("load")
    at_first = sum(packed.values())
    tab.wait_for_load_state("networkidle")
    settle(tab)
    shifts = tab.evaluate("shifts")
    tab.close()
    assert letters
    assert sum(value for value, _ in shifts) < 0.05, shifts
    assert at_first < FIRST_LOAD


@pytest.mark.parametrize("width", [412, 1280])
def test_what_is_not_laid_out_yet_is_guessed_well(opened, address, width):
    tab = opened(f"{address}/book/foundations/elbo.html", width=width)
    tab.wait_for_load_state("networkidle")
    height = "document.querySelector('article').offsetHeight"
    guessed = tab.evaluate(height)
    tab.add_style_tag(content="[data-far] { contain-intrinsic-block-size: 0 !important; }")
    assert tab.evaluate(height) < 0.8 * guessed, "much of the chapter waits"
    tab.add_style_tag(content="[data-far] { content-visibility: visible !important; }")
    assert 0.98 < guessed / tab.evaluate(height) < 1.09, "rather too large: nothing may stick out"


DRIFT = """
async (id) => {
  const place = document.getElementById(id);
  location.hash = id;
  await new Promise((after) => setTimeout(after, 600));
  return place.getBoundingClientRect().y;
}
"""


@pytest.mark.parametrize("width", [412, 1280])
def test_links_within_a_chapter_lead_to_their_place(opened, address, width):
    name = "book/foundations/elbo.html"
    labels = re.findall(r'id="(equation-[^"]*)"', page(name).text)
    for number, label in enumerate(labels[::5]):
        tab = opened(f"{address}/{name}#{label}", width=width)
        tab.wait_for_load_state("networkidle")
        at = tab.locator(f"[id='{label}']").evaluate("place => place.getBoundingClientRect().y")
        assert 0 < at < 160, (label, "on arrival")
        other = labels[-1 - number]
        assert 0 < tab.evaluate(DRIFT, other) < 160, (other, "from another place")


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
@pytest.mark.parametrize("width", [412, 1280])
def test_room_for_an_explorer_is_kept(opened, address, name, width):
    tab = opened("about:blank", width=width)
    tab.route("**/explorers/explorers.js", lambda route: route.fulfill(body=""))
    tab.goto(f"{address}/{name}")
    heights = "all => all.map(one => one.offsetHeight)"
    kept = tab.locator(".vae-live").evaluate_all(heights)
    tab.unroute("**/explorers/explorers.js")
    tab = opened(f"{address}/{name}", width=width)
    read_through(tab)
    assert tab.locator(".vae-live").evaluate_all(heights) == pytest.approx(kept, rel=0.12)


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
    bare = re.sub(r'"[^"]*/explorers\.js", ', "", RUNTIME_TAG.sub("", whole))
    assert "explorers.js" not in bare
    bare = re.sub(r'<div class="vae-live.*?</div>', "", bare)

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
