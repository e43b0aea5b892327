"""The glossary: complete, in order, each entry with its place; its links in the chapters, and what they show.

The site must be built (`make book`); the last part needs an installed Chromium.
"""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import settle, violations, visits
from docutils import nodes, utils
from sphinx import addnodes

import chapters
import glossary_links
import notebooks
from glossary_links import Entry

SITE = notebooks.ROOT / "_build" / "html"
GLOSSARY = (notebooks.ROOT / f"{glossary_links.GLOSSARY}.md").read_text("utf8")
CHAPTERS = {
    c.docname: notebooks.read(notebooks.ROOT / f"{c.docname}.ipynb") for c in chapters.chapters() if c.docname
}
each_chapter = pytest.mark.parametrize("docname", CHAPTERS, ids=lambda docname: Path(docname).stem)

ENTRY = re.compile(r"((?:^\S.*\n)+)((?:^  \S.*\n)+)", re.M)
PLACE = re.compile(r" Chapter (\d+): \[\]\(#(sec-[\w-]+)\)$")


def text(markdown: str) -> str:
    """Return Markdown's words, its spaces single."""
    return " ".join(markdown.split())


def sources() -> list[tuple[Entry, str]]:
    """Return the entries as they stand in the page of the glossary, with their whole texts."""
    inside = GLOSSARY.partition("```{glossary}\n")[2].rpartition("```")[0]
    found = []
    for terms, definition in ENTRY.findall(inside):
        first = glossary_links.FIRST_SENTENCE.match(text(definition))
        assert first, definition
        found.append((Entry(tuple(terms.splitlines()), "", first[0]), text(definition)))
    return found


SOURCES = sources()
ENTRIES = [entry for entry, _ in SOURCES]
each_entry = pytest.mark.parametrize(
    ("entry", "definition"), SOURCES, ids=lambda part: getattr(part, "name", "")
)


def prose(docname: str) -> str:
    """Return a chapter's Markdown without code."""
    texts = [cell.source for cell in CHAPTERS[docname].cells if cell.cell_type == "markdown"]
    return re.sub(r"^```.*?^```$|(?<!`)`[^`\n]+`", "", "\n\n".join(texts), flags=re.M | re.S)


def section(docname: str, label: str) -> str:
    """Return the section of a chapter that follows a label, with those below it."""
    after = prose(docname).partition(f"({label})=\n")[2]
    marks = after.partition(" ")[0]
    assert re.fullmatch("##+", marks), f"{docname} has no section {label}"
    return re.split(rf"\n#{{2,{len(marks)}}} ", after)[0]


# --- the entries ------------------------------------------------------------------------------------

# Words in bold that define nothing: they are stressed, or name one of the things compared on their page.
STRESSED = {
    *(
        "one number",
        "average before the logarithm",
        "nothing",
        "summed",
        "raised",
        "crowd",
        "kinds",
        "when VAEs fail",
        "corrupted",
    ),
    *("ten kinds", "four draws", "memoriser", "evaluations of the decoder"),
    *("expected log-ratio per draw", "wasted length"),
}


def defined(docname: str) -> set[str]:
    """Return what a chapter sets in bold, without sentences: these have five words, a formula or an end."""
    bold = {text(found) for found in re.findall(r"\*\*(?=\S)(.+?)\*\*", prose(docname), re.S)}
    return {words for words in bold if len(words.split()) < 5 and not re.search(r"[.?$\]`\"]", words)}


@each_chapter
def test_every_term_that_a_chapter_defines_is_in_the_glossary(docname):
    terms = defined(docname) - STRESSED
    assert {term for term in terms if glossary_links.entry_for(term, ENTRIES) is None} == set()


def test_chapters_define_terms():
    assert min(len(defined(docname)) for docname in list(CHAPTERS)[:8]) > 5
    assert len(set().union(*map(defined, CHAPTERS))) > 90


def test_no_exception_is_stale():
    assert set().union(*map(defined, CHAPTERS)) >= STRESSED


def in_the_glossary_s_order(entry: Entry) -> str:
    """Return what an entry is sorted by."""
    return entry.name.replace("-", " ").replace("β", "beta").replace("é", "e").casefold()


def test_entries_are_in_order_and_no_term_stands_twice():
    assert len(ENTRIES) > 100
    assert [pair for pair in pairwise(map(in_the_glossary_s_order, ENTRIES)) if pair[0] > pair[1]] == []
    terms = [term.casefold() for entry in ENTRIES for term in entry.terms]
    assert len(terms) == len(set(terms))


@each_entry
def test_the_first_sentence_stands_on_its_own(entry, definition):
    assert not re.search(r"[$`\[\]{}_\\]", entry.meaning), "letters are plain there, and links come later"
    assert entry.meaning.endswith(".")
    assert entry.meaning[0].isupper()
    assert 6 <= len(entry.meaning.split()) <= 45, entry.meaning
    assert not re.match(r"(?:This|It|They|These)\b", entry.meaning)
    assert text(definition).startswith(entry.meaning)


@each_entry
def test_an_entry_ends_with_the_place_that_uses_its_word(entry, definition):
    place = PLACE.search(definition)
    assert place, "an entry ends like this: Chapter 4: [](#sec-elbo-jensen)"
    docname = chapters.chapters()[int(place[1]) - 1].docname
    used = section(docname, place[2])
    words = [rf"\b{glossary_links.form(glossary_links.SENSE.sub('', term))}" for term in entry.terms]
    adjectives = [word for word in defined(docname) if glossary_links.entry_for(word, [entry])]
    assert any(re.search(word, used) for word in words) or any(word in text(used) for word in adjectives)


# --- the links --------------------------------------------------------------------------------------

SMALL = [
    Entry(("exact posterior", "posterior"), "term-exact-posterior", "Which causes explain."),
    Entry(("ELBO", "evidence lower bound"), "term-ELBO", "A bound."),
    Entry(("mean field",), "term-mean-field", "A product."),
    Entry(("field",), "term-field", "A place."),
    Entry(("mean field theory",), "term-mean-field-theory", "An art."),
    Entry(("encoder",), "term-encoder", "A network."),
    Entry(("rate (of a code)",), "term-rate", "A cost."),
    Entry(("Bayes' rule",), "term-Bayes-rule", "A share."),
]


def paragraph(*parts: str | nodes.Node) -> nodes.paragraph:
    """Return a paragraph."""
    return nodes.paragraph("", "", *(nodes.Text(part) if isinstance(part, str) else part for part in parts))


def linked(*sections: list[nodes.Node]) -> list[tuple[str, str]]:
    """Return the words that are linked in a chapter's beginning and sections, and what they lead to."""
    document = utils.new_document("")
    chapter = nodes.section("", nodes.title("", "The posterior"), *sections[0])
    for parts in sections[1:]:
        chapter += nodes.section("", nodes.title("", "The posterior"), *parts)
    document += chapter
    before = document.astext()
    used = glossary_links.link_terms(document, SMALL, "../g.html")
    assert document.astext() == before, "words come and go"
    links = list(document.findall(glossary_links.glossary_link))
    assert {link["note"] for link in links} == {entry.note for entry in used}
    assert all(link["refuri"].startswith("../g.html#term-") for link in links)
    return [(link.astext(), link["note"].removeprefix("meaning-")) for link in links]


def test_a_term_is_linked_once_in_each_section():
    def both():
        return [paragraph("The posterior, this posterior."), paragraph("Our exact posterior.")]

    assert linked(both(), both()) == [("posterior", "exact-posterior")] * 2
    below = nodes.section("", nodes.title("", "More"), paragraph("A posterior."))
    assert linked([], [paragraph("A posterior."), below]) == [("posterior", "exact-posterior")]


def test_a_term_that_is_everywhere_is_linked_once_in_a_chapter():
    assert linked([paragraph("Encoders.")], [paragraph("An encoder.")]) == [("Encoders", "encoder")]
    bold = [paragraph("An ", nodes.strong("", "encoder"), ".")]
    assert linked([], bold, [paragraph("An encoder.")]) == []


@pytest.mark.parametrize(
    ("words", "link"),
    [
        ("Posteriors differ.", "Posteriors"),
        ("an evidence\nlower bound", "evidence\nlower bound"),
        ("the mean-field family", "mean-field"),
        ("the encoder's answer", "encoder"),
        ("by Bayes’ rule", "Bayes’ rule"),
    ],
)
def test_forms_of_a_term_are_found(words, link):
    assert [word for word, _ in linked([paragraph(words)])] == [link]


@pytest.mark.parametrize(
    "words",
    ["a log-posterior", "the posterior–prior gap", "at this rate", "elbo", "posteriority", "prior opinion"],
)
def test_other_words_are_not(words):
    assert linked([paragraph(words)]) == []


def test_a_longer_term_is_not_cut():
    assert linked([paragraph("An exact posterior and a posterior.")]) == [
        ("exact posterior", "exact-posterior")
    ]


def test_only_running_text_is_linked():
    word = "The posterior."
    boxed = nodes.admonition("", nodes.title("", word), paragraph(word))
    table = nodes.table("", nodes.entry("", paragraph(word)))
    figure = nodes.figure("", nodes.caption("", word))
    reference = paragraph(nodes.reference("", word), nodes.literal("", word), nodes.math("", word))
    line = nodes.paragraph("", word, classes=["chapter-line"])
    fold = [
        nodes.raw("", "<details>\n<summary>A posterior</summary>"),
        paragraph(word),
        nodes.raw("", "</details>"),
    ]
    parts = [boxed, table, figure, reference, line, *fold]
    assert linked(parts) == []
    items = nodes.bullet_list("", nodes.list_item("", paragraph(word)))
    assert linked([*parts, items]) == [("posterior", "exact-posterior")]


def test_no_link_where_a_term_is_defined():
    bold = paragraph("The ", nodes.strong("", "evidence lower bound"), " is an ELBO.")
    assert linked([bold], [paragraph("An ELBO.")]) == [("ELBO", "ELBO")]


def test_entries_are_read_from_a_page():
    term = nodes.term("", "ELBO", ids=["term-ELBO"])
    text = paragraph("A bound, at 0.5 nats. It is\nsharp.")
    item = nodes.definition_list_item("", term, nodes.term("", "bound (lower)"), nodes.definition("", text))
    document = utils.new_document("")
    document += addnodes.glossary("", nodes.definition_list("", item))
    assert glossary_links.entries(document) == [
        Entry(("ELBO", "bound (lower)"), "term-ELBO", "A bound, at 0.5 nats.")
    ]


@pytest.mark.parametrize(
    ("bold", "name"),
    [("active", "active latent"), ("nats", "nat"), ("precision", "precision"), ("gap", None)],
)
def test_a_bold_word_finds_its_entry(bold, name):
    entry = glossary_links.entry_for(bold, ENTRIES)
    assert (entry and entry.name) == name


# --- the pages --------------------------------------------------------------------------------------

LINK = re.compile(r'<a class="glossary-link" href="([^"]+)" aria-describedby="([^"]+)">')
NOTE = re.compile(
    r'<div class="glossary-note" popover="manual" role="tooltip" id="([^"]+)"><b>([^<]+)</b> ([^<]+)<'
)


def built(docname: str) -> str:
    """Return a page of the built site."""
    path = SITE / f"{docname}.html"
    if not path.exists():
        pytest.fail(f"{path.name} is not built; run `make book` first", pytrace=False)
    return path.read_text("utf8")


def test_chapters_are_linked():
    counts = [len(LINK.findall(built(docname))) for docname in CHAPTERS]
    assert min(counts[:8]) > 5
    assert sum(counts) > 250


@each_chapter
def test_links_lead_to_entries_whose_meanings_come_along(docname):
    page, glossary = built(docname), built(glossary_links.GLOSSARY)
    links, notes = LINK.findall(page), NOTE.findall(page)
    assert len(links) < 80, "a page that is all links is no help"
    assert [note for note, _, _ in notes] == list(dict.fromkeys(note for _, note in links))
    for address, _ in links:
        assert address.startswith("../reference/glossary.html#term-")
        assert f'id="{address.partition("#")[2]}"' in glossary
    meanings = {entry.name: entry.meaning for entry in ENTRIES}
    for _, name, meaning in notes:
        assert meaning.replace("’", "'") == meanings[name.replace("’", "'")].replace("<", "&lt;")
    assert "_static/glossary.js" in page


@pytest.mark.parametrize(
    "docname", ["book/intro", "book/running", "book/reference/notation", "book/reference/glossary"]
)
def test_other_pages_have_no_links_and_no_script(docname):
    assert "glossary-link" not in built(docname)
    assert "glossary.js" not in built(docname)


@each_chapter
def test_nothing_is_linked_in_headings_links_captions_boxes_and_tables(docname):
    page = built(docname)
    for part in ["h1", "h2", "h3", "figcaption", "table", "summary", "pre", "details"]:
        assert "glossary-link" not in "".join(re.findall(rf"<{part}\b.*?</{part}>", page, re.S)), part
    assert not re.search(r"<a\b[^>]*>(?:(?!</a>).)*<a\b", page.partition("<article")[2], re.S), (
        "a link in a link"
    )


# --- in a browser -----------------------------------------------------------------------------------

CHAPTER = "book/foundations/elbo"
OPEN = ".glossary-note:popover-open"


@pytest.fixture
def opened(browser):
    """Return a function that opens a chapter from its folder, and hold it to silence."""
    with visits(browser, height=700, offline=True) as visit:

        def open_page(width=1280, scheme="light", docname=CHAPTER, **settings):
            built(docname)
            return visit((SITE / f"{docname}.html").as_uri(), width, scheme, **settings)

        yield open_page


def focus(link) -> None:
    """Bring the focus to a link by the Tab key."""
    link.evaluate(
        """link => {
          const before = Object.assign(document.createElement("span"), { tabIndex: -1 });
          link.before(before);
          before.focus();
        }"""
    )
    link.page.keyboard.press("Tab")
    assert link.evaluate("link => link === document.activeElement")


# What is shown lies inside the window, beside its link and over all else.
IN_SIGHT = """
() => {
  const note = document.querySelector(".glossary-note:popover-open"), box = note?.getBoundingClientRect();
  const link = document.querySelector(`[aria-describedby="${note?.id}"]:is(:hover, :focus)`);
  if (!link) return false;
  const far = ({ top, bottom }) => Math.min(Math.abs(box.top - bottom), Math.abs(box.bottom - top));
  const { clientWidth, clientHeight } = document.documentElement;
  const inside = box.left >= 0 && box.top >= 0 && box.right <= clientWidth && box.bottom <= clientHeight;
  const corners = [[box.left + 3, box.top + 3], [box.right - 3, box.bottom - 3]];
  return inside && [...link.getClientRects()].some((line) => far(line) < 8)
    && corners.every(([x, y]) => note.contains(document.elementFromPoint(x, y)));
}
"""


def is_in_sight(tab) -> bool:
    """Tell whether a meaning is shown where it can be read."""
    return tab.evaluate(IN_SIGHT)


def settled(link):
    """Bring a link into sight, and wait until the blocks around it are laid out."""
    for _ in range(3):
        link.scroll_into_view_if_needed()
        settle(link.page)
    return link


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_pointing_at_a_word_shows_its_meaning(opened, width, scheme):
    tab = opened(width, scheme)
    link = settled(tab.locator("a.glossary-link").first)
    assert tab.locator(OPEN).count() == 0
    link.hover()
    tab.locator(OPEN).wait_for()
    meaning = next(entry.meaning for entry in ENTRIES if entry.name == link.inner_text())
    assert text(tab.locator(OPEN).inner_text()) == f"{link.inner_text()} {meaning}"
    assert is_in_sight(tab)
    assert violations(tab) == []
    tab.mouse.move(3, 3)
    tab.locator(OPEN).wait_for(state="detached")


def test_a_meaning_goes_when_the_mouse_leaves_the_window(opened):
    tab = opened()
    settled(tab.locator("a.glossary-link").first).hover()
    tab.locator(OPEN).wait_for()
    tab.mouse.move(-9, 300)
    tab.locator(OPEN).wait_for(state="detached", timeout=5000)


def test_a_meaning_stays_while_it_is_pointed_at(opened):
    tab = opened()
    settled(tab.locator("a.glossary-link").first).hover()
    tab.locator(OPEN).wait_for()
    box = tab.locator(OPEN).bounding_box()
    tab.mouse.move(box["x"] + box["width"] - 9, box["y"] + box["height"] - 9, steps=8)
    tab.wait_for_timeout(800)
    assert tab.locator(OPEN).count() == 1
    tab.mouse.click(box["x"] + 20, box["y"] + 20)
    assert tab.locator(OPEN).count() == 1, "its text can be marked"


@pytest.mark.parametrize("width", [1280, 390])
def test_the_focus_shows_a_meaning_and_escape_hides_it(opened, width):
    tab = opened(width)
    link = settled(tab.locator("[data-far] a.glossary-link").nth(5))
    focus(link)
    tab.locator(OPEN).wait_for()
    tab.mouse.move(5, 300)
    tab.mouse.move(9, 400)
    tab.wait_for_timeout(600)
    assert tab.locator(OPEN).count() == 1, "a mouse that wanders takes nothing away"
    assert is_in_sight(tab)
    tab.keyboard.press("Escape")
    assert tab.locator(OPEN).count() == 0
    assert link.evaluate("link => link === document.activeElement")
    tab.keyboard.press("Shift+Tab")
    focus(link)
    tab.locator(OPEN).wait_for()
    tab.keyboard.press("Tab")
    tab.locator(OPEN).wait_for(state="detached")


@pytest.mark.parametrize("width", [1280, 390])
def test_far_down_a_page_nothing_clips_a_meaning(opened, width):
    tab = opened(width)
    links = tab.locator("[data-far] a.glossary-link")
    assert links.count() > 20
    for k in range(0, links.count(), 6):
        for _ in range(4):  # on a busy machine, the page may slide away below the mouse
            tab.mouse.move(2, 2)
            settled(links.nth(k)).hover()
            tab.locator(OPEN).wait_for()
            if is_in_sight(tab):
                break
        assert is_in_sight(tab), links.nth(k).inner_text()
        tab.keyboard.press("Escape")
        assert tab.locator(OPEN).count() == 0


def test_a_meaning_goes_along_when_the_page_moves(opened):
    tab = opened()
    link = settled(tab.locator("[data-far] a.glossary-link").nth(9))
    focus(link)
    tab.locator(OPEN).wait_for()
    tab.evaluate("scrollBy(0, 60)")
    settle(tab)
    assert is_in_sight(tab)


@pytest.mark.parametrize("key", ["Enter", "click", "tap"])
def test_a_word_leads_to_its_entry(opened, key):
    tab = opened(390, has_touch=True)
    link = settled(tab.locator("a.glossary-link").nth(2))
    anchor = link.get_attribute("href").partition("#")[2]
    focus(link) if key == "Enter" else None
    {"Enter": lambda: tab.keyboard.press("Enter"), "click": link.click, "tap": link.tap}[key]()
    tab.wait_for_url(f"**/reference/glossary.html#{anchor}")
    assert 0 <= tab.locator(f"[id='{anchor}']").bounding_box()["y"] < 700


def test_without_script_and_in_print_there_is_no_trace(opened):
    tab = opened(java_script_enabled=False)
    link = tab.locator("a.glossary-link").first
    link.hover()
    tab.wait_for_timeout(600)
    assert tab.locator(".glossary-note:visible").count() == 0
    tab.emulate_media(media="print")
    assert link.evaluate("link => getComputedStyle(link).textDecorationLine") == "none"
    colours = "link => [link, link.parentElement].map((node) => getComputedStyle(node).color)"
    assert len(set(link.evaluate(colours))) == 1


def test_where_strong_contrast_is_asked_for_a_meaning_has_an_edge(opened):
    tab = opened(forced_colors="active")
    settled(tab.locator("a.glossary-link").first).hover()
    tab.locator(OPEN).wait_for()
    assert tab.locator(OPEN).evaluate("note => getComputedStyle(note).borderTopWidth") == "1px"
    assert violations(tab) == []


def test_a_word_is_read_with_its_meaning(opened):
    """Chromium's own tree for screen readers gives the link a description, though its text is hidden."""
    tab = opened()
    link = tab.locator("a.glossary-link").first
    session = tab.context.new_cdp_session(tab)
    found = session.send("Runtime.evaluate", {"expression": "document.querySelector('a.glossary-link')"})
    tree = session.send("Accessibility.getPartialAXTree", {"objectId": found["result"]["objectId"]})
    node = tree["nodes"][0]
    assert node["role"]["value"] == "link"
    assert node["name"]["value"] == link.inner_text()
    meaning = next(entry.meaning for entry in ENTRIES if entry.name == link.inner_text())
    assert meaning in node["description"]["value"]
