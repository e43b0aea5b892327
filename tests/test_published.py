"""What the published site needs: one address in one place, previews, a page for lost readers, search, a zip.

The site must be built (`make book`).
"""

import re
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
import zipfile
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from conftest import Quiet, serving, violations, visits
from PIL import Image
from test_site import SITE, SOURCES, page

import chapters
import notebooks
import published

ROOT = notebooks.ROOT
HOME = notebooks.site_url()
each_source = pytest.mark.parametrize("name", SOURCES)


# --- the address ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("ada/vae-book", "https://ada.github.io/vae-book/"),
        ("Ada-Lovelace/VAE.book", "https://ada-lovelace.github.io/VAE.book/"),
        ("Ada/ada.github.io", "https://ada.github.io/"),
        ("Ada/Ada.GitHub.io", "https://ada.github.io/"),
        ("ada/bob.github.io", "https://ada.github.io/bob.github.io/"),
    ],
)
def test_site_is_where_pages_serve_it(monkeypatch, name, site):
    monkeypatch.setattr(notebooks, "repository_url", lambda: f"https://github.com/{name}")
    assert notebooks.site_url() == site


COPIED = ("_config.yml", "_toc.yml", "Makefile", "requirements.txt", "pyproject.toml", "LICENSE")
COPIED += ("README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md")


@pytest.fixture
def fork(tmp_path):
    """Return a copy of the book and of what stands around it."""
    for name in COPIED:
        shutil.copy2(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "book", tmp_path / "book", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "vae_src").symlink_to(ROOT / "vae_src")
    return tmp_path


def move(fork: Path, *name: str) -> subprocess.CompletedProcess:
    """Give a copy another address, as `make address` does."""
    tool = [sys.executable, fork / "book" / "_tools" / "address.py", *name]
    return subprocess.run(tool, capture_output=True, text=True)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "vae-book",
        "a/b/c",
        "https://github.com/a/b",
        "a b/c",
        "-a/b",
        "a/..",
        "a/b;ls",
        "a/b\nc",
        r"a/\1",
        "ä/b",
    ],
)
def test_a_name_that_cannot_be_one_changes_nothing(fork, name):
    done = move(fork, name)
    assert done.returncode == 1
    assert f"as in ada/vae-book; “{name}” is not." in done.stdout
    assert done.stderr == ""
    assert (fork / "_config.yml").read_text("utf8") == (ROOT / "_config.yml").read_text("utf8")


OURS = notebooks.repository_url().removeprefix("https://github.com/")


@pytest.mark.slow
def test_after_one_command_everything_names_the_fork(fork):
    done = move(fork, "Ada-L/their.vae-2")
    assert done.returncode == 0, done.stdout + done.stderr
    site, named = "https://ada-l.github.io/their.vae-2/", "github.com/Ada-L/their.vae-2"
    files = [path for path in fork.rglob("*.*") if path.suffix in {".md", ".ipynb", ".yml", ".cff", ".py"}]
    texts = {path: path.read_text("utf8") for path in files if "vae_src" not in path.parts}
    old = re.compile(rf"github(?:\.com)?/{re.escape(OURS)}\b|{re.escape(HOME)}", re.I)
    assert len(texts) > 30
    assert [str(path) for path, text in texts.items() if old.search(text)] == []
    for path in notebooks.notebook_paths():
        moved = texts[fork / path.relative_to(ROOT)]
        assert f"git+https://{named}" in moved
        before, after = notebooks.read(path), notebooks.loads(moved)
        assert notebooks.code_hash(before) == notebooks.code_hash(after)
        assert [c.get("outputs") for c in before.cells] == [c.get("outputs") for c in after.cells]
    assert f"git clone https://{named}\n" in texts[fork / "README.md"]
    assert site in texts[fork / "CITATION.cff"]
    again = move(fork, *OURS.split(" "))
    assert again.returncode == 0
    changed = [p for p in texts if p.read_text("utf8") != (ROOT / p.relative_to(fork)).read_text("utf8")]
    assert changed == [], "and back again"

    assert move(fork, "Ada-L/their.vae-2").returncode == 0
    build = [Path(sys.executable).with_name("jupyter-book"), "build", "-W", "-n", "--quiet", fork]
    built = subprocess.run(build, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    html = fork / "_build" / "html"
    for path in [
        *html.rglob("*.html"),
        *html.rglob("colab/**/*.ipynb"),
        html / "sitemap.xml",
        html / "robots.txt",
    ]:
        text = path.read_text("utf8")
        assert not old.search(text), path
        if path.suffix == ".html" and "_static" not in path.parts:
            (canonical,) = re.findall(r'rel="canonical" href="([^"]+)"', text)
            assert canonical.startswith(site)
    for path in notebooks.notebook_paths():
        name = path.relative_to(ROOT / "book").with_suffix("")
        text = (html / "book" / f"{name}.html").read_text("utf8")
        assert (
            f"https://colab.research.google.com/github/Ada-L/their.vae-2/blob/gh-pages/colab/{name}.ipynb"
            in text
        )
        assert f'property="og:url" content="{site}book/{name}.html"' in text
        assert f"git+https://{named}" in (html / "colab" / f"{name}.ipynb").read_text("utf8")
    assert f"Sitemap: {site}sitemap.xml" in (html / "robots.txt").read_text("utf8")
    assert '"/their.vae-2/_static/site.css"' in (html / "404.html").read_text("utf8")


# --- what a link to a page shows --------------------------------------------------------------------------


def told(name: str) -> dict[str, str]:
    """Return what a page tells those who show a link to it."""
    found = re.findall(r'<meta (?:property|name)="([\w:]+)" content="([^"]*)"', page(name).text)
    return {key: unescape(value) for key, value in found}


@each_source
def test_preview_has_title_description_picture_and_address(name):
    tags = told(name)
    title = re.search(r"<title>(.*?)</title>", page(name).text, re.S)
    assert unescape(title[1]).startswith(tags["og:title"])
    assert tags["og:url"] == HOME + name
    assert f'<link rel="canonical" href="{HOME}{name}" />' in page(name).text
    assert tags["og:image"] == f"{HOME}_static/card.png"
    assert tags["twitter:card"] == "summary_large_image"
    assert len(tags["og:image:alt"].split()) >= 8
    description = tags["og:description"]
    assert tags["description"] == description
    assert page(name).text.count('name="description"') == 1
    assert 30 < len(description) < 400
    assert description.endswith((".", "?"))
    assert not re.search(r"\\|,,|\$|\.\.\.", description)


def test_chapters_are_described_by_their_questions_and_no_two_pages_alike():
    questions = re.findall(r'<p class="question">(.*?)</p>', page(SOURCES[0]).text)
    asked = [told(f"{docname}.html")["description"] for docname in chapters.written()]
    assert asked == [unescape(question) for question in questions]
    described = [told(name)["description"] for name in SOURCES]
    assert len(set(described)) == len(described)


def test_a_link_to_the_root_shows_what_one_to_the_first_page_does():
    both = [
        {k: v for k, v in told(name).items() if k.startswith(("og:", "twi", "des"))}
        for name in ("index.html", SOURCES[0])
    ]
    assert both[0] == both[1]
    assert len(both[0]) >= 8


def test_card_has_the_size_that_previews_ask_for():
    with Image.open(SITE / "_static" / "card.png") as card:
        assert card.size == (1200, 630)


# --- for search engines -------------------------------------------------------------------------------------


def test_sitemap_lists_the_pages_of_the_book_and_robots_name_it():
    listed = [e.text for e in ElementTree.parse(SITE / "sitemap.xml").iter() if e.tag.endswith("}loc")]
    assert sorted(listed) == sorted(HOME + name for name in SOURCES)
    assert f"\nSitemap: {HOME}sitemap.xml\n" in (SITE / "robots.txt").read_text("utf8")
    assert (SITE / ".nojekyll").exists(), "or GitHub leaves out _static"


# --- lost readers ------------------------------------------------------------------------------------


class Pages(Quiet):
    """A server that shows the site below its path and 404.html elsewhere, as GitHub's does."""

    def translate_path(self, path):
        """Find a file by its address below the project's path, and none elsewhere."""
        root = urlsplit(HOME).path
        return super().translate_path(
            f"/{path.removeprefix(root)}" if path.startswith(root) else "/none/none"
        )

    def send_error(self, code, message=None, explain=None):
        """Send the page of lost readers."""
        text = (SITE / "404.html").read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture(scope="module")
def pages():
    page("404.html")
    with serving(SITE, Pages) as address:
        yield address + urlsplit(HOME).path


@pytest.fixture
def visit(browser):
    with visits(browser) as visit:
        yield visit


def results(tab) -> list[str]:
    """Wait until a search is over, and return the titles that it found."""
    tab.locator("#search-results .search-summary", has_text="finished").wait_for()
    return tab.locator("#search-results ul.search li > a").all_inner_texts()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
@pytest.mark.parametrize("depth", ["no", "no/such/page.html"])
def test_lost_readers_find_the_book_at_any_depth(visit, pages, depth, scheme, width):
    tab = visit(f"{pages}{depth}", width, scheme)
    assert tab.locator(".bd-article h1").inner_text() == "No page has this address"
    assert "Book Serif" in tab.locator(".bd-article h1").evaluate("h => getComputedStyle(h).fontFamily")
    assert violations(tab) == []
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= width
    links = tab.locator(".lost-chapters a").evaluate_all("all => all.map(a => a.href)")
    assert links == [pages + name for name in [SOURCES[0], *(f"{c}.html" for c in chapters.written())]]
    tab.locator(".lost-search input").fill("ELBO")
    tab.keyboard.press("Enter")
    assert "4. The ELBO" in results(tab)
    assert tab.url == f"{pages}search.html?q=ELBO"


def test_every_address_of_the_page_for_lost_readers_begins_at_the_root():
    root = urlsplit(HOME).path
    lost = page("404.html")
    for link in [*lost.links, *lost.loads, *re.findall(r'"([^"]*_static/[^"]*)"', lost.text)]:
        assert link.startswith((root, "https://", "#", "data:")), link
        if link.startswith(root):
            assert (SITE / link.removeprefix(root).partition("?")[0].partition("#")[0]).exists(), link


# --- search -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("ELBO", "4. The ELBO"),
        ("reparameterization", "5. Reparameterization"),
        ("KL", "3. Variational inference"),
    ],
)
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_search_answers_from_a_folder_without_a_network(visit, words, found, scheme, width):
    tab = visit(f"{SITE.as_uri()}/search.html?q={words}", width, scheme, offline=True)
    assert found in results(tab)
    assert violations(tab) == []
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= width
    glass, field = (tab.locator(f"main form.bd-search {part}").bounding_box() for part in ("i", "input"))
    padding = tab.locator("main form.bd-search input").evaluate(
        "i => parseFloat(getComputedStyle(i).paddingLeft)"
    )
    assert glass["x"] + glass["width"] <= field["x"] + padding, "the magnifying glass lies upon the words"


def test_search_says_which_word_of_the_glossary_it_found(visit):
    found = results(visit(f"{SITE.as_uri()}/search.html?q=reparameterization", offline=True))
    assert "Glossary: reparameterization trick" in found


def test_search_says_kindly_that_it_found_nothing(visit):
    tab = visit(f"{SITE.as_uri()}/search.html?q=xylophone", offline=True)
    tab.locator("#search-results", has_text="did not match").wait_for()
    assert tab.locator("#search-results ul.search li").count() == 0


def test_search_by_keys_from_a_chapter_in_a_folder(visit):
    tab = visit(f"{SITE.as_uri()}/{SOURCES[2]}", offline=True)
    tab.keyboard.press("Control+k")
    tab.keyboard.type("importance sampling")
    tab.keyboard.press("Enter")
    assert "4. The ELBO" in results(tab)
    tab.locator("#search-results a", has_text="4. The ELBO").first.click()
    tab.wait_for_url("**/foundations/elbo.html*")


# --- the zip ------------------------------------------------------------------------------------------------


def letters_of(tab, query: str) -> list[str]:
    """Return the names of the fonts in which the first element of a query is really drawn."""
    inspector = tab.context.new_cdp_session(tab)
    for part in ("DOM", "CSS"):
        inspector.send(f"{part}.enable")
    root = inspector.send("DOM.getDocument")["root"]["nodeId"]
    node = inspector.send("DOM.querySelector", {"nodeId": root, "selector": query})["nodeId"]
    fonts = inspector.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
    return [font["familyName"] for font in fonts]


def test_zip_opens_from_another_folder_without_a_network(visit, tmp_path):
    archive = tmp_path / "site.zip"
    pack = f"{sys.executable} -m zipfile -c"
    recipe = re.search(
        r"-m zipfile -c \.\./vae-book-site\.zip (\S+)$", (ROOT / "Makefile").read_text("utf8"), re.M
    )
    subprocess.run([*pack.split(), archive, recipe[1]], cwd=SITE, check=True)
    names = zipfile.ZipFile(archive).namelist()
    assert {"index.html", ".nojekyll", "_static/site.css", SOURCES[0]} <= set(names)
    folder = tmp_path / "a folder with spaces"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", archive, folder], check=True)
    tab = visit((folder / "index.html").as_uri(), offline=True)
    tab.wait_for_url("**/book/intro.html")
    tab.locator(".vae-explorer").wait_for()
    tab.evaluate("document.fonts.ready.then(() => true)")
    assert letters_of(tab, "article p") == ["Source Serif 4"]
    tab.locator(".way.first").click()
    tab.wait_for_url("**/foundations/autoencoders.html")
    assert tab.locator("article img").first.evaluate("i => i.naturalWidth") > 0


# --- citing -------------------------------------------------------------------------------------------------


def cff() -> dict:
    """Return CITATION.cff."""
    return yaml.safe_load(published.CITATION.read_text("utf8"))


def test_citation_has_what_its_format_asks_for_and_the_package_s_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    for record in (cff(), cff()["preferred-citation"]):
        assert record["title"] == yaml.safe_load((ROOT / "_config.yml").read_text("utf8"))["title"]
        assert record["version"] == project["version"]
        assert record["url"] == HOME
        assert all(author["name"] for author in record["authors"])
    assert {"cff-version", "message", "title", "authors"} <= cff().keys()
    assert cff()["repository-code"] == notebooks.repository_url()
    assert (cff()["license"], cff()["preferred-citation"]["license"]) == ("MIT", "CC-BY-4.0")
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text("utf8"), re.M)
    assert newest[1] in {"Unreleased", project["version"]}


def test_entry_to_copy_is_that_of_the_citation(visit):
    from pybtex.database import parse_string

    (entry,) = parse_string(published.bibtex(), "bibtex").entries.values()
    book = cff()["preferred-citation"]
    assert entry.fields["title"] == book["title"]
    assert entry.fields["url"] == book["url"] == HOME
    assert entry.fields["year"] == str(book["year"])
    assert str(entry.persons["author"][0]).strip("{}") == book["authors"][0]["name"]
    assert f"```bibtex\n{published.bibtex()}\n```" in (ROOT / "README.md").read_text("utf8")
    tab = visit(f"{SITE.as_uri()}/{SOURCES[0]}", offline=True)
    block = tab.locator("#cite-this-book .highlight")
    assert block.locator("pre").inner_text().strip() == published.bibtex()
    assert block.locator("button.copybtn").count() == 1
    licences = tab.locator("#cite-this-book").inner_text()
    assert "CC BY 4.0" in licences
    assert "MIT" in licences
