"""What makes the finished pages light, held on small pages; test_site.py looks at the built ones."""

import re

import pytest
from fontTools.ttLib import TTFont

import far_blocks
import formulas
import light_pages
import notebooks

SITE = notebooks.ROOT / "_build" / "html"
SCRIPTS = """<!DOCTYPE html><html><head>
<link rel="stylesheet" href="../_static/pygments.css">
<link rel="stylesheet" href="../_static/copybutton.css">
</head><body><article><p>Text</p></article>
<script src="../_static/doctools.js?v=1"></script>
<script src="../_static/copybutton.js?v=2"></script>
<script src="../_static/doctools.js?v=1"></script>
<script type="application/json">{"a": "<p>"}</script>
</body></html>"""


def test_scripts_come_once_and_late_and_only_where_they_serve():
    page = light_pages.lighter(SCRIPTS)
    assert '["../_static/doctools.js?v=1", "../_static/light_pages.js"]' in page
    assert "copybutton.js" not in page
    assert not re.search(r"<script[^>]* src=", page)
    assert '<script type="application/json">' in page
    with_code = SCRIPTS.replace("<p>Text</p>", '<div class="highlight"></div>')
    assert 'doctools.js?v=1", "../_static/copybutton.js' in light_pages.lighter(with_code)


@pytest.mark.parametrize(
    "page", [SCRIPTS, f"<html><body><article>{'<p>Text</p>' * 200}</article></body></html>"]
)
def test_a_second_build_changes_nothing_more(page):
    once = light_pages.one_sheet(light_pages.lighter(page))
    assert once != page
    assert light_pages.one_sheet(light_pages.lighter(once)) == once


def test_one_sheet_stands_for_all():
    page = light_pages.one_sheet(SCRIPTS)
    assert re.findall(r'href="([^"]*)"', page) == ["../_static/site.css"]


def test_blocks_far_down_a_long_page_wait():
    blocks = (
        '<p>a</p><p class="x">b</p><div class="math notranslate">c</mjx-container></div><pre>d</pre><path>'
    )
    short = f"<p>menu</p><article>{blocks}</article>"
    assert far_blocks.with_far_blocks(short) == short
    long = f"<p>menu</p><article>{blocks * far_blocks.LONG}</article>"
    marked = far_blocks.with_far_blocks(long)
    assert re.sub(r' data-far style="--lines:[\d.]+"', "", marked) == long
    assert marked.startswith("<p>menu</p><article><p>a</p>")
    assert marked.count(" data-far") == 3 * far_blocks.LONG - far_blocks.NEAR
    assert marked.endswith(
        '<p data-far style="--lines:1">a</p><p data-far style="--lines:1" class="x">b</p>'
        '<div data-far style="--lines:2.8" class="math notranslate">c</mjx-container></div>'
        "<pre>d</pre><path></article>"
    )


def test_the_name_of_a_class_is_no_text():
    page = f'<article>{"<p>a</p>" * far_blocks.LONG}<p class="{"x" * 200}">b</p></article>'
    assert 'style="--lines:1" class="xxx' in far_blocks.with_far_blocks(page)


@pytest.mark.parametrize(
    ("kind", "block", "lines"),
    [
        ("<p", "word " * 68, 5),
        ("<ul", "<li><p>a</p></li><li><p>" + "b" * 69 + "</p></li>", 3),
        ('<div class="math', "<mjx-mtr>" * 4, 6.4),
        ('<div class="cell_input', '<div><pre><span>a</span>\n<span class="b">b</span>\n</pre>', 2.16),
    ],
)
def test_a_block_is_guessed_to_be_as_high_as_its_text(kind, block, lines):
    assert far_blocks.lines_of(kind, block) == pytest.approx(lines)


STYLE = (
    '@charset "UTF-8";.card,.gone{a:1}.gone .card{b:2}.card:not(.gone){c:3}h1{d:4}'
    "@media print{.gone>p{e:5}.card>p{f:6}}.tip-top{g:7}.gone{h:8}"
    ":is(.gone,.card) p{i:9}@keyframes k{from{j:1}}"
)


def test_rules_for_what_is_nowhere_go():
    kept = light_pages.cut_rules(STYLE, {"card", "tip-", "print"})
    assert re.findall(r"([a-j]):\d", kept) == list("acdfgij")
    assert kept.count("{") == kept.count("}")
    assert kept.startswith('@charset "UTF-8";.card,.gone{a:1}')


def test_a_sheet_in_a_folder_that_names_a_file_stops_the_build(tmp_path):
    (tmp_path / "styles").mkdir()
    (tmp_path / "styles" / "a.css").write_text("a { background: url(b.png) }")
    with pytest.raises(light_pages.ExtensionError, match=r"a\.css names a file"):
        light_pages.joined(tmp_path, ["styles/a.css"])


def test_fonts_have_all_that_the_formulas_show_and_little_else():
    if not (SITE / "_static" / "mathjax").exists():
        pytest.fail("the site is not built; run `make book` first", pytrace=False)
    shown = formulas.characters((SITE / "_static" / "formulas.css").read_text("utf8"))
    assert {ord("="), 0x2211, 0x3B8} <= shown, "letters, signs and Greek"
    sizes = []
    for font in (formulas.mathjax() / formulas.FONTS).iterdir():
        cut = SITE / "_static" / "mathjax" / font.name
        letters = set(TTFont(cut).getBestCmap())
        assert letters, "a browser refuses an empty font"
        assert set(TTFont(font).getBestCmap()) & shown <= letters
        sizes.append((cut.stat().st_size, font.stat().st_size))
    assert sum(cut for cut, _ in sizes) < 0.6 * sum(whole for _, whole in sizes)
