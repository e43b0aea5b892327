"""Make the site whole in itself: formulas drawn by a local MathJax, no script from anywhere else.

It also mends what the tools in between leave: scripts for a feature that we do not use, ids that occur
twice, roles that screen readers reject.

MathJax comes from the pip package sphinx-mathjax-offline and is copied after the build, not placed
in `_static/` before it: Jupyter Book would add every script found there to every page.
"""

import importlib.util
import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx

# The page's script, its fonts, and the extensions that it loads when a formula first needs them.
MATHJAX_PARTS = ("tex-chtml.js", "output/chtml/fonts/woff-v2", "input/tex/extensions")

INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="canonical" href="{first}">
<meta http-equiv="refresh" content="0; url={first}">
</head>
<body><main><h1>{title}</h1><p><a href="{first}">Open the book</a></p></main></body>
</html>
"""


def _copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Copy the parts of MathJax that pages ask for into the finished site."""
    if error or app.builder.format != "html":
        return
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise RuntimeError("sphinx-mathjax-offline is missing: pip install -r requirements.txt")
    source = Path(spec.origin).parent / "static" / "mathjax"
    target = Path(app.outdir, "_static", "mathjax")
    for part in MATHJAX_PARTS:
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / part, target / part)


def _write_index(app: Sphinx, error: Exception | None) -> None:
    """Write an index page that opens the book's first page, over http and from a folder alike."""
    if error or app.builder.name != "html" or app.config.root_doc == "index":
        return
    page = INDEX.format(title=app.config.html_title, first=f"{app.config.root_doc}.html")
    Path(app.outdir, "index.html").write_text(page, "utf8")


def _mend_page(app: Sphinx, pagename: str, template: str, context: dict, doctree: object) -> None:
    """Drop what Jupyter Book adds for thebe (twice) and nothing here uses; mend ids and roles."""

    def wanted(file: object) -> bool:
        body = getattr(file, "attributes", {}).get("body") or ""
        return "thebe" not in str(getattr(file, "filename", file)) and "THEBE_JS_URL" not in body

    for kind in ("script_files", "css_files"):
        context[kind] = [file for file in context.get(kind, []) if wanted(file)]
    body = context.get("body", "")
    body = re.sub(r'<script type="text/x-thebe-config">.*?</script>', "", body, flags=re.S)
    body = re.sub(r"<script>kernelName = [^<]*</script>", "", body)
    body = re.sub(r' id="(?:exercise|proof)-content"', "", body)  # all exercises of a page share it
    # A list of references holds list items; the role that Sphinx writes is not allowed there.
    context["body"] = body.replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app: Sphinx) -> dict[str, object]:
    """Connect the steps; priorities put ours after Jupyter Book's and before the toc's."""
    app.connect("html-page-context", _mend_page, priority=900)
    app.connect("build-finished", _copy_mathjax)
    app.connect("build-finished", _write_index, priority=100)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
