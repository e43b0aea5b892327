"""Make the finished pages light: each loads what it uses, and nothing holds up its first paint.

The theme brings every icon of Font Awesome twice, as fonts and as a script of 1.5 MB that redraws them. Here
the script goes, and the fonts are cut down to the icons that the site shows and put into the style sheet.
There, too, the rules for what the site never shows are left out: half of the sheet. The theme's and the
extensions' style sheets become one file, which all pages share. All scripts but the one that sets the theme
come after the first paint, and a page leaves out those of what it does not hold. Two things that the theme
does by measuring the whole page as it opens are done by light_pages.js with less work. The pictures are the
business of light_pictures.py, the text below the first screens that of far_blocks.py.
"""

import base64
import json
import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from cut_fonts import cut
from far_blocks import with_far_blocks

ONE_SHEET = "site.css"
OWN = ["book.css", "formulas.css"]
ICON_SCRIPT = "fontawesome.js"
MATHJAX = r"window\.MathJax|/MathJax|mathjax@"  # formulas.py has drawn the formulas
RULE = re.compile(r"([^{}]+)\{[^{}]*\}")
CLASSES = re.compile(r'class="([^"]*)"')
WORD = re.compile(r"[\w-]+")
CHOICE = re.compile(r"/\*.*?\*/|:(?:not|is|where|has)\((?:[^()]|\([^()]*\))*\)", re.S)
CLASS = re.compile(r"\.(-?[a-z_][\w-]*)", re.I)
ICON_CODE = re.compile(r'[\ue000-\uf8ff]|(?<=\\)[ef][0-9a-f]{3}(?=")')
ICON_FONT = re.compile(r"src:url\(([^)]+/webfonts/[^)]+\.woff2)\)[^}]*(?=\})")

# What a tag (its text) serves, and how a page shows that it has it. Everything else stays.
SERVES = {
    r"clipboard\.min\.js|copybutton\.": r'<div class="highlight',
    r"togglebutton\.|let toggle|togglebuttonSelector": r'class="([^"]* )?toggle[ "]|admonition[^"]* dropdown',
    r"design-tabs\.js": r"sd-tab-set",
    r"glossary\.js": r'class="glossary-note"',
    r"sphinx-design\.": r'class="(?:[^"]* )?sd-',
}
PART = re.compile(r"[ \t]*<script\b[^>]*>[^<]*</script>\n?")
SHEET = re.compile(r'[ \t]*<link (?=[^>]*rel="stylesheet")[^>]*href="((?:\.\./)*)_static/([^"?]+)[^>]*>\n?')
IMPORT = re.compile(r'@import "([^"]+)";')
# For the version switcher, which the book has not; it would have to wait for another script.
PAGE_NAME = re.compile(r"[ \t]*<script>DOCUMENTATION_OPTIONS\.pagename = [^<]*</script>\n?")
# A script announced in the head would race with the style sheets, which the first paint needs.
ANNOUNCED = re.compile(r'[ \t]*<link rel="preload" as="script"[^>]*>\n?')
# Of code, what has the colour of the text around it: names and brackets, half of a chapter's elements.
PLAIN_CODE = re.compile(r'<span class="(?:n|nn|nx|p|w)">([^<]*)</span>')
# The theme's script before the first paint leaves "auto" for the one after it to resolve, which paints anew.
LATE_THEME = 'localStorage.getItem("theme") || "auto"'
THEME = """{ light: "light", dark: "dark" }[document.documentElement.dataset.mode]
      ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")"""
# What light_pages.js does in the theme's place.
INSTEAD = "void 0/* light_pages.js */"
SPY = ' data-bs-spy="scroll"'
MEASURE = '"complete"===document.readyState?O():window.addEventListener("load",O)'
LOADED = re.compile(r'[ \t]*<script\b(?![^>]*\btype=)[^>]*\ssrc="([^"]*)"[^>]*></script>\n?')
# A deferred script would run as soon as the style sheet is there, and the reader would wait for both.
AFTER_PAINT = """<script>
{{
  const script = (src) => Object.assign(document.createElement("script"), {{ src, async: false }});
  const start = () => document.body.append(...{}.map(script));
  if (PerformanceObserver.supportedEntryTypes.includes("paint"))
    new PerformanceObserver((seen, observer) => {{
      if (seen.getEntriesByName("first-contentful-paint").length) {{ observer.disconnect(); start(); }}
    }}).observe({{ type: "paint", buffered: true }});
  else requestAnimationFrame(() => setTimeout(start));
}}
</script>
"""


def unused(page: str) -> list[str]:
    """Return the patterns of scripts and style sheets that serve nothing on a page."""
    body = page[page.index("<body") :]
    return [tag for tag, sign in SERVES.items() if not re.search(sign, body)]


def lighter(page: str) -> str:
    """Return a page without what it does not use, and with scripts that wait."""
    page = ANNOUNCED.sub("", PAGE_NAME.sub("", page)).replace(LATE_THEME, THEME)
    page = with_far_blocks(PLAIN_CODE.sub(r"\1", page))
    drop = re.compile("|".join([re.escape(ICON_SCRIPT), MATHJAX, *unused(page)]))
    seen: set[str] = set()

    def keep(match: re.Match[str]) -> str:
        """Drop one script if it is unused or was there before."""
        repeated = match[0] in seen
        seen.add(match[0])
        return "" if repeated or drop.search(match[0]) else match[0]

    page = PART.sub(keep, page).replace(SPY, "")
    scripts = LOADED.findall(page)
    if not scripts:
        return page
    root = next(src for src in scripts if "_static/" in src).partition("_static/")[0]
    late = AFTER_PAINT.format(json.dumps([*scripts, f"{root}_static/light_pages.js"]))
    return LOADED.sub("", page).replace("</body>", f"{late}</body>")


def one_sheet(page: str) -> str:
    """Return a page with one link to the sheet of the whole site, in the place of its first."""
    first = SHEET.search(page)
    if first is None:
        return page
    link = f'<link rel="stylesheet" href="{first[1]}_static/{ONE_SHEET}">\n'
    return page[: first.start()] + link + SHEET.sub("", page[first.end() :])


def joined(static: Path, names: list[str]) -> str:
    """Return the text of several style sheets, each with what it imports before it."""
    texts = []
    for path in (static / name for name in names):
        text = path.read_text("utf8")
        texts += [(path.parent / found).read_text("utf8") for found in IMPORT.findall(text)]
        texts.append(IMPORT.sub("", text))
        # Addresses are counted from the sheet: those in a folder below may hold data only.
        if path.parent != static and re.search(r"url\((?![\"']?data:)", text):
            raise ExtensionError(f"{path.name} names a file that the one sheet would not find")
    return "\n".join(texts)


def cut_rules(style: str, words: set[str]) -> str:
    """Return a style sheet without the rules for classes that are not among the words.

    A word that ends in a hyphen stands for all that begin with it: scripts put such names together.
    """
    beginnings = tuple(word for word in words if word.endswith("-"))

    def keep(rule: re.Match[str]) -> str:
        """Drop one rule if each of its selectors asks for a class that is nowhere."""
        selectors = CHOICE.sub("", rule[1]).split(",")
        return rule[0] if any(map(can_match, selectors)) else ""

    def can_match(selector: str) -> bool:
        """Say whether all the classes that a selector asks for exist."""
        return all(name in words or name.startswith(beginnings) for name in CLASS.findall(selector))

    return RULE.sub(keep, style)


def cut_icons(style: str, folder: Path) -> str:
    """Return the theme's style sheet with its icon fonts inside, cut down to the icons that it names."""
    codes = {int(code, 16) if len(code) == 4 else ord(code) for code in ICON_CODE.findall(style)}
    codes.add(0xF107)  # the book theme's style sheet, in its own hand

    def inside(font: re.Match[str]) -> str:
        """Write a font into the sheet."""
        small = base64.b64encode(cut((folder / font[1]).with_suffix(".ttf"), codes)).decode()
        return f'src:url(data:font/woff;base64,{small}) format("woff")'

    return ICON_FONT.sub(inside, style)


def _last(sheet: str) -> int:
    """Sort the book's own sheet, and the formulas', after those of others."""
    return OWN.index(sheet) if sheet in OWN else -1


def _write_sheet(static: Path, names: dict[str, None]) -> None:
    """Write the sheet of the whole site; a build of some pages keeps what the others brought to it."""
    path = static / ONE_SHEET
    if path.exists():
        names = dict.fromkeys(path.read_text("utf8").partition("\n")[0].strip("/* ").split()) | names
    ordered = sorted(names, key=_last)
    path.write_text(f"/* {' '.join(ordered)} */\n{joined(static, ordered)}", "utf8")


def _lighten(app: Sphinx, error: Exception | None) -> None:
    """Go over the finished site."""
    if error or app.builder.format != "html":
        return
    site, static = Path(app.outdir), Path(app.outdir, "_static")
    words: set[str] = set()  # all that may be a class
    sheets: dict[str, None] = {}  # in the order of the pages
    for path in [*site.glob("*.html"), *site.glob("book/**/*.html")]:
        page = path.read_text("utf8")
        words.update(" ".join(CLASSES.findall(page)).split())
        if "<body" not in page:
            continue
        idle = re.compile("|".join([re.escape(ONE_SHEET), *unused(page)]))
        sheets |= dict.fromkeys(name for _, name in SHEET.findall(page) if not idle.search(name))
        if page != (light := one_sheet(lighter(page))):
            path.write_text(light, "utf8")
    for heavy in (static / "scripts").glob(f"{ICON_SCRIPT}*"):
        heavy.unlink()
    for script in [*static.glob("*.js"), *static.glob("scripts/*.js")]:
        words.update(WORD.findall(script.read_text("utf8")))
    sheet = static / "styles" / "pydata-sphinx-theme.css"
    style = sheet.read_text("utf8")
    if "/webfonts/" in style:
        sheet.write_text(cut_icons(cut_rules(style, words), sheet.parent), "utf8")
    _write_sheet(static, sheets)
    theme = static / "scripts" / "pydata-sphinx-theme.js"
    script = theme.read_text("utf8")
    if MEASURE not in script and INSTEAD not in script:
        raise ExtensionError("the theme's script no longer measures the page as light_pages.py expects")
    theme.write_text(script.replace(MEASURE, INSTEAD), "utf8")
    shutil.copy2(Path(__file__).with_suffix(".js"), static)


def setup(app: Sphinx) -> dict[str, object]:
    """Connect the last step: everything else that finishes pages comes before it."""
    app.connect("build-finished", _lighten, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
