"""What a reader is told about the chapters: cards, the line under a title, what comes next, what was read.

The site must be built (`make book`); the tests of what was read need an installed Chromium.
"""

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from conftest import listen, violations
from PIL import Image

import cells
import chapters
import notebooks
import pictures

SITE = notebooks.ROOT / "_build" / "html"
STATIC = notebooks.ROOT / "book" / "_static"
TEMPLATES = notebooks.ROOT / "book" / "_templates"
FIRST = SITE / "book" / "intro.html"
WRITTEN = list(chapters.written().values())
each_chapter = pytest.mark.parametrize("chapter", WRITTEN, ids=lambda chapter: Path(chapter.docname).stem)


def built(docname: str) -> str:
    """Return a page of the built site."""
    path = SITE / f"{docname}.html"
    if not path.exists():
        pytest.fail(f"{path.name} is not built; run `make book` first", pytrace=False)
    return path.read_text("utf8")


def words(markup: str) -> str:
    """Return the text of a piece of HTML, its spaces single."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def source(chapter: chapters.Chapter) -> notebooks.NotebookNode:
    """Return a chapter's notebook."""
    return notebooks.read(notebooks.ROOT / f"{chapter.docname}.ipynb")


def question(chapter: chapters.Chapter) -> str:
    """Return the question under a chapter's title, from its notebook."""
    found = re.search(r"^\*\*(.+?)\*\*$", source(chapter).cells[0].source, re.M | re.S)
    assert found
    return " ".join(found[1].split())


def cards() -> list[str]:
    """Return the cards of the first page, as HTML."""
    return re.findall(r'<li class="chapter-card">(.*?)</li>', built("book/intro"), re.S)


# --- the data file ----------------------------------------------------------------------------------


def test_data_file_names_the_chapters_of_the_contents_in_order():
    teaching = [path for path in notebooks.notebook_paths() if path.parent.name != "reference"]
    assert [f"{c.docname}.ipynb" for c in WRITTEN] == [str(p.relative_to(notebooks.ROOT)) for p in teaching]
    assert [c.number for c in chapters.chapters()] == list(range(1, 19))


def test_data_file_says_what_is_needed_of_each():
    for chapter in chapters.chapters():
        if chapter.docname:
            assert chapter.runs > 0, chapter
            assert len(chapter.picture.split()) >= 5, "the picture's alternative text says what it shows"
            assert all(chapters.chapters()[need - 1].docname for need in chapter.needs)
            assert all(need < chapter.number for need in chapter.needs), chapter
        else:
            assert chapter.title, chapter
            assert chapter.question, chapter


@pytest.mark.parametrize(
    ("seconds", "said"), [(21, "21 s"), (54, "54 s"), (59, "1 min"), (73, "1 min"), (95, "2 min")]
)
def test_time_to_run_in_words(seconds, said):
    assert chapters.to_run(seconds) == said


@pytest.mark.parametrize(
    ("names", "said"), [(["2"], "2"), (["2", "3"], "2 and 3"), (["2", "4", "5"], "2, 4 and 5"), ([], "")]
)
def test_lists_in_words(names, said):
    assert chapters.listed(names) == said


# --- the pages --------------------------------------------------------------------------------------


@each_chapter
def test_card_says_what_the_notebook_holds(chapter):
    card = words(cards()[chapter.number - 1])
    texts = [cell.source for cell in source(chapter).cells if cell.cell_type == "markdown"]
    exercises = sum("{exercise}" in text for text in texts)
    outputs = [o.get("data", {}) for c in notebooks.code_cells(source(chapter)) for o in c.outputs]
    explorers = sum({notebooks.WIDGET_VIEW, "image/png"} <= set(data) for data in outputs)
    assert card.startswith(f"{chapter.number} ")
    assert question(chapter) in card
    assert f"{exercises} exercises" in card
    assert (f"{explorers} explorer" in card) == (explorers > 0)
    assert f"runs in {chapters.to_run(chapter.runs)}" in card
    assert card.endswith(chapters.needs_in_words(chapter, chapters.listed(list(map(str, chapter.needs)))))


@each_chapter
def test_reading_time_is_that_of_the_words(chapter):
    texts = [cell.source for cell in source(chapter).cells if cell.cell_type == "markdown"]
    prose = re.sub(r"```.*?```|\$\$.*?\$\$|^:::.*?$|\{[\w:-]+\}", " ", "\n".join(texts), flags=re.S | re.M)
    found = re.search(r"(\d+) min to read", words(built(chapter.docname)))
    assert found
    assert abs(int(found[1]) - len(prose.split()) / chapters.WORDS_A_MINUTE) <= 5


@each_chapter
def test_line_under_the_title(chapter):
    line = re.search(r'</h1>\s*<p class="chapter-line">(.*?)</p>', built(chapter.docname), re.S)
    assert line
    assert words(line[1]).startswith(f"Chapter {chapter.number} of 18 · {chapter.part} · ")
    linked = re.findall(r'href="([^"]+)">(\d+)</a>', line[1])
    assert [int(number) for _, number in linked] == list(chapter.needs)
    for address, number in linked:
        target = (SITE / chapter.docname).parent.joinpath(address).resolve()
        assert target == SITE / f"{chapters.chapters()[int(number) - 1].docname}.html"


@each_chapter
def test_foot_names_the_next_chapter_and_its_question(chapter):
    foot = re.search(r'<nav class="prev-next-area".*?</nav>', built(chapter.docname), re.S)
    assert foot
    ways = dict(re.findall(r'rel="(prev|next)"[^>]*>(.*?)</a>', foot[0], re.S))
    neighbours = {other.number - chapter.number: other for other in WRITTEN}
    for way, word, step in [("prev", "Previous", -1), ("next", "Next", 1)]:
        if neighbour := neighbours.get(step):
            assert words(ways[way]).startswith(f"{word} {neighbour.number}. ")
            assert words(ways[way]).endswith(question(neighbour))


@each_chapter
def test_every_check_is_marked(chapter):
    outputs = [notebooks.output_text(cell) for cell in notebooks.code_cells(source(chapter))]
    ticks = [tick for printed in outputs for tick in re.findall(r"^✓ ", printed, re.M)]
    assert len(ticks) > 0
    assert built(chapter.docname).count('<span class="check">') == len(ticks)


def test_a_mark_holds_the_check_and_nothing_else():
    output = "<span></span>before\n✓ a claim\n    1 = 1\n✓ another\nafter\n"
    checks = '<span class="check">✓ a claim\n    1 = 1</span><span class="check">✓ another</span>'
    assert cells.marked(output) == f"<span></span>before\n{checks}after\n"


def test_first_page_says_how_far_the_book_is():
    assert f"{len(WRITTEN)} of 18 chapters are written" in words(built("book/intro"))
    to_come = re.search(r'<ul class="chapters-to-come">(.*?)</ul>', built("book/intro"), re.S)
    assert to_come
    assert built("book/intro").count('class="done"') == len(cards()) == len(WRITTEN)


def test_first_page_has_ways_in():
    ways = dict(re.findall(r'<a class="way[^"]*" href="([^"]+)">([^<]+)</a>', built("book/intro")))
    here, colab, explorers = ways
    assert here == "foundations/autoencoders.html"
    name = notebooks.repository_url().removeprefix("https://github.com/")
    assert colab.startswith(f"https://colab.research.google.com/github/{name}/blob/")
    assert colab.endswith("/foundations/autoencoders.ipynb")
    assert explorers == "reference/explorers.html"


# --- pictures and fonts -----------------------------------------------------------------------------


@pytest.mark.slow
def test_stored_pictures_are_those_that_the_code_draws(tmp_path):
    pictures.write(tmp_path)
    drawn = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*"))
    assert len(drawn) == len(WRITTEN) + 3
    for name in drawn:
        new, stored = (np.asarray(Image.open(f / name).convert("RGBA"), float) for f in (tmp_path, STATIC))
        assert new.shape == stored.shape, name
        seen = [image[..., :3] * image[..., 3:] / 255 for image in (new, stored)]
        assert np.abs(seen[0] - seen[1]).mean() < 1.5, f"{name}: run `make pictures`"


def test_pictures_of_the_cards_are_small():
    for chapter in WRITTEN:
        assert (STATIC / "pictures" / f"{chapter.number}.webp").stat().st_size <= 15_500


def test_fonts_are_few_and_bring_their_licence():
    fonts = list((STATIC / "fonts").glob("*.woff2"))
    assert sum(font.stat().st_size for font in fonts) <= 120_000
    assert "SIL Open Font License" in (STATIC / "fonts" / "LICENSE.txt").read_text("utf8")
    used = re.findall(r"url\(fonts/([^)]+)\)", (STATIC / "book.css").read_text("utf8"))
    announced = re.findall(r"_static/fonts/([^']+)'", (TEMPLATES / "layout.html").read_text("utf8"))
    assert sorted(used) == sorted(announced) == sorted(font.name for font in fonts)


# --- what was read, in a browser ----------------------------------------------------------------------


@pytest.fixture
def reader(browser):
    """Return a function that opens pages of the site's folder as one reader."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    trouble = []

    def read(docname: str):
        tab = context.new_page()
        listen(tab, trouble)
        tab.goto((SITE / f"{docname}.html").as_uri())
        tab.wait_for_load_state("networkidle")  # the scripts come after the first paint
        return tab

    read.context = context
    yield read
    context.close()
    assert trouble == []


def to_the_end(tab) -> None:
    """Scroll to the foot of a page, and wait until the script has seen it."""
    tab.locator(".prev-next-area").scroll_into_view_if_needed()
    tab.locator(".bd-links .current .read-tick").wait_for()


def test_a_page_read_to_its_end_is_ticked_and_the_next_is_offered(reader):
    first, second = WRITTEN[:2]
    chapter = reader(first.docname)
    assert chapter.locator(".read-tick").count() == 0, "it has only been opened"
    to_the_end(chapter)
    home = reader("book/intro")
    ticked = home.locator(".chapter-card:has(.read-tick) a")
    assert ticked.count() == 1
    assert re.search(r"Autoencoders\s*\(read\)", ticked.text_content())
    assert home.locator(".bd-links a:has(.read-tick)").count() == 1
    assert (
        home.locator(".go-on")
        .text_content()
        .startswith(f"You have read 1 of the {len(WRITTEN)}. Go on with chapter 2 ")
    )
    assert home.locator(".go-on a").get_attribute("href") == (SITE / f"{second.docname}.html").as_uri()
    assert violations(home) == []


def test_what_was_read_can_be_forgotten(reader):
    to_the_end(reader(WRITTEN[0].docname))
    home = reader("book/intro")
    home.locator(".go-on button").click()
    assert home.locator(".read-tick").count() == 0
    assert home.locator(".go-on").is_hidden()
    assert reader("book/intro").locator(".go-on").is_hidden()


def test_who_has_read_nothing_is_offered_nothing(reader):
    assert reader("book/intro").locator(".go-on").is_hidden()


def test_a_browser_that_keeps_nothing_is_no_trouble(reader):
    reader.context.add_init_script(
        "const kept = localStorage; Object.defineProperty(window, 'localStorage', {get() {"
        " if (new Error().stack.includes('progress.js')) throw new Error('refused'); return kept; }})"
    )
    tab = reader(WRITTEN[0].docname)
    tab.locator(".prev-next-area").scroll_into_view_if_needed()
    tab.wait_for_timeout(300)
    assert tab.locator(".read-tick").count() == 0


def test_script_of_what_was_read_is_small():
    assert Path(chapters.__file__).with_name("progress.js").stat().st_size < 2_100


def test_bar_at_the_top_shows_how_far_one_has_read_unless_motion_is_unwelcome(reader):
    tab = reader(WRITTEN[0].docname)
    width = "new DOMMatrix(getComputedStyle(document.body, '::before').transform).a"
    assert tab.evaluate(width) == pytest.approx(0, abs=0.01)
    tab.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    tab.wait_for_function(f"{width} > 0.9")
    tab.emulate_media(reduced_motion="reduce")
    assert tab.evaluate("getComputedStyle(document.body, '::before').content") == "none"


def test_explorers_have_the_font_of_the_page(reader):
    tab = reader("book/intro")
    tab.locator(".vae-explorer").wait_for()
    button = tab.locator(".vae-explorer button").first
    assert "Book Sans" in button.evaluate("button => getComputedStyle(button).fontFamily")


def test_card_has_one_link_that_covers_it(reader):
    tab = reader("book/intro")
    card = tab.locator(".chapter-card").nth(2)
    assert card.locator("a").count() == 1
    card.scroll_into_view_if_needed()
    card.click(position={"x": 20, "y": 20})
    tab.wait_for_url("**/variational-inference.html")
