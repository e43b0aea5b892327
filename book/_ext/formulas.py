"""Draw every formula once, when the site is built: a page needs no script for them, and they never jump.

MathJax runs here, in the JavaScript engine of the pip package mini-racer. What it draws, with the MathML that
screen readers read, takes the place of the TeX in the finished pages; its style sheet holds the letters that
the book uses. A formula that MathJax does not understand stops the build.
"""

import html
import importlib.util
import json
import re
import threading
from pathlib import Path

from py_mini_racer import JSEvalException, MiniRacer
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from cut_fonts import cut

FORMULA = re.compile(
    r'(<(span|div) class="math notranslate nohighlight"[^>]*>)(.*?)\\(\(|\[)(.*?)\\(?:\)|\])\s*(</\2>)', re.S
)
PARTS = ["core", "adaptors/liteDOM", "input/tex-full", "output/chtml", "a11y/assistive-mml"]
FILES = [*PARTS, "startup", "output/chtml/fonts/tex"]
FONTS = "output/chtml/fonts/woff-v2"
CONTENT = re.compile(r'content: "((?:[^"\\]|\\.)*)"')
CHARACTER = re.compile(r"\\([0-9A-Fa-f]{1,6}) ?|\\?([^\\])")
METRICS = range(0xEFFC, 0xF000)  # not shown; MathJax's font without height consists of one of them
# MathJax's letters are lower than those of the text around them.
SCALE = 1.1

SETUP = """
var global = globalThis, ready = false, trouble = null;
var MathJax = {
  loader: {
    paths: { mathjax: "" }, load: PARTS,
    require(name) { (0, eval)(files[name.replace(/^\\/|\\.js$/g, "")]); },
  },
  startup: { typeset: false },
  tex: {
    packages: { "[-]": ["noerrors", "noundefined", "require", "autoload"] },
    formatError(_, error) { throw Error(error.message); },
  },
  chtml: { fontURL: "mathjax", matchFontHeight: false, scale: SCALE },
};
(0, eval)(files.startup);
MathJax.startup.promise.then(() => { ready = true; }, (error) => { trouble = String(error); });
function draw(tex, display) { return MathJax.startup.adaptor.outerHTML(MathJax.tex2chtml(tex, { display })); }
function style() { return MathJax.startup.adaptor.textContent(MathJax.chtmlStylesheet()); }
"""


def mathjax() -> Path:
    """Return the folder of MathJax, from the pip package that brings it."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise RuntimeError("sphinx-mathjax-offline is missing: pip install -r requirements.txt")
    return Path(spec.origin).parent / "static" / "mathjax"


class Pen:
    """MathJax, started in an engine of its own."""

    def __init__(self) -> None:
        files = {name: (mathjax() / f"{name}.js").read_text("utf8") for name in FILES}
        self.engine = MiniRacer()
        self.engine.eval(f"var files = {json.dumps(files)}")
        self.engine.eval(SETUP.replace("PARTS", json.dumps(PARTS)).replace("SCALE", str(SCALE)))
        pause = threading.Event()
        for _ in range(1_000):  # its parts are loaded in promises, a matter of milliseconds
            if self.engine.eval("ready || trouble"):
                break
            pause.wait(0.01)
        if not self.engine.eval("ready"):
            raise RuntimeError(f"MathJax did not start: {self.engine.eval('trouble')}")
        self.drawn: dict[tuple[str, bool], str] = {}

    def draw(self, tex: str, display: bool) -> str:
        """Return a formula as HTML; ValueError with MathJax's complaint if it is wrong."""
        if (tex, display) not in self.drawn:
            try:
                drawn = self.engine.eval(f"draw({json.dumps(tex)}, {json.dumps(display)})")
            except JSEvalException as error:
                raise ValueError(f"{tex.strip()}: {error}") from None
            self.drawn[tex, display] = str(drawn)
        return self.drawn[tex, display]

    def style(self) -> str:
        """Return the style sheet for all that was drawn."""
        return str(self.engine.eval("style()"))


def with_formulas(page: str, pen: Pen, sheet: str) -> str:
    """Return a page whose formulas are drawn, with a link to their style sheet."""

    def write(match: re.Match[str]) -> str:
        """Draw one formula; what stands before it, such as its number, stays."""
        opening, _, before, kind, tex, closing = match.groups()
        return opening + before + pen.draw(html.unescape(tex), kind == "[") + closing

    page, found = FORMULA.subn(write, page)
    link = f'<link rel="stylesheet" type="text/css" href="{sheet}">\n</head>'
    return page.replace("</head>", link, 1) if found else page


def characters(style: str) -> set[int]:
    """Return the code points of all that a style sheet of MathJax puts on a page."""
    shown = "".join(CONTENT.findall(style))
    return {int(code, 16) if code else ord(char) for code, char in CHARACTER.findall(shown)}


def _draw_all(app: Sphinx, error: Exception | None) -> None:
    """Draw the formulas of the finished site, and give it their style sheet and fonts."""
    if error or app.builder.format != "html":
        return
    site, pen = Path(app.outdir), Pen()
    for path in [*site.glob("*.html"), *site.glob("book/**/*.html")]:
        text = path.read_text("utf8")
        sheet = "../" * len(path.relative_to(site).parent.parts) + "_static/formulas.css"
        try:
            page = with_formulas(text, pen, sheet)
        except ValueError as wrong:
            raise ExtensionError(f"{path.relative_to(site)}: MathJax does not understand {wrong}") from None
        if page != text:
            path.write_text(page, "utf8")
    style = pen.style()
    pen.engine.close()
    (site / "_static" / "formulas.css").write_text(style, "utf8")
    letters = characters(style)
    fonts = site / "_static" / "mathjax"
    fonts.mkdir(exist_ok=True)
    for font in (mathjax() / FONTS).iterdir():
        (fonts / font.name).write_bytes(cut(font, letters.union(METRICS)))


def setup(app: Sphinx) -> dict[str, object]:
    """Connect the step."""
    app.connect("build-finished", _draw_all, priority=800)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
