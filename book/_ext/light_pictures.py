"""Make the pictures of the finished pages light: WebP without loss, with their size, and loaded when near.

A picture whose size stands in the page leaves its room before it arrives. The first of a page loads at once
if no code comes before it, as it is then on the first screen; others wait until the reader comes near them.
"""

import re
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from PIL import Image
from sphinx.application import Sphinx

PICTURE = re.compile(r'<img\b(?P<rest>[^>]*?\bsrc="(?P<src>[^":]+)"[^>]*?)\s*/?>')
NOSCRIPT = re.compile(r"<noscript>.*?</noscript>", re.S)
SVG_SIZE = re.compile(r'viewBox="[\d.]+ [\d.]+ ([\d.]+) ([\d.]+)"')


def _to_webp(png: Path) -> None:
    """Put a picture's WebP, with every pixel as it was, in its place where that is smaller."""
    webp = png.with_suffix(".webp")
    with Image.open(png) as picture:
        picture.save(webp, lossless=True, method=2, quality=50)
    (webp if webp.stat().st_size >= png.stat().st_size else png).unlink()


@cache
def _size(path: Path) -> tuple[int, int]:
    """Return a picture's width and height in pixels."""
    if path.suffix == ".svg":
        width, height = SVG_SIZE.search(path.read_text("utf8")).groups()  # type: ignore[union-attr]
        return round(float(width)), round(float(height))
    with Image.open(path) as picture:
        return picture.size


def with_sizes(page: str, folder: Path) -> str:
    """Return a page whose pictures are WebP where there is one, say their size, and wait their turn."""
    article = page.find("<article")
    still = [range(*part.span()) for part in NOSCRIPT.finditer(page)]  # shown at once, or printed
    first = next((m.start() for m in PICTURE.finditer(page, article) if not _within(m, still)), 0)
    top = page.partition("<pre")[0]

    def write(match: re.Match[str]) -> str:
        """Rewrite one picture's tag."""
        rest, path = match["rest"], (folder / match["src"]).resolve()
        webp = path.with_suffix(".webp")
        if path != webp and webp.exists():
            rest, path = rest.replace(match["src"], str(Path(match["src"]).with_suffix(".webp"))), webp
        if not re.search(r"\b(?:width|height)=", rest):
            width, height = _size(path)
            rest += f' width="{width}" height="{height}"'
        at_once = (
            match.start() == first < len(top)
            or "logo__image" in rest
            or "loading=" in rest
            or _within(match, still)
        )
        return f"<img{rest}/>" if at_once else f'<img{rest} loading="lazy" decoding="async"/>'

    return PICTURE.sub(write, page)


def _within(match: re.Match[str], parts: list[range]) -> bool:
    """Tell whether a match lies in one of some parts of the page."""
    return any(match.start() in part for part in parts)


def _lighten(app: Sphinx, error: Exception | None) -> None:
    """Go over the finished site."""
    if error or app.builder.format != "html":
        return
    site = Path(app.outdir)
    with ThreadPoolExecutor() as pool:
        list(pool.map(_to_webp, sorted((site / "_images").glob("*.png"))))
    for path in [*site.glob("*.html"), *site.glob("book/**/*.html")]:
        page = path.read_text("utf8")
        path.write_text(with_sizes(page, path.parent), "utf8")


def setup(app: Sphinx) -> dict[str, object]:
    """Connect the last step: everything else that finishes pages comes before it."""
    app.connect("build-finished", _lighten, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
