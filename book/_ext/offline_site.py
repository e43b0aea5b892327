"""Make the site whole in itself: no script from anywhere else, and an index that opens without a server.

It also mends what the tools in between leave: scripts for a feature that we do not use, ids that occur
twice, roles and names that screen readers reject.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
{told}
<meta http-equiv="refresh" content="0; url={first}">
</head>
<body><main><h1>{title}</h1><p><a href="{first}">Open the book</a></p></main></body>
</html>
"""
TOLD = re.compile(r'<meta (?:property="og:|name="(?:description|twitter:))[^>]*>|<link rel="canonical"[^>]*>')


def _write_index(app: Sphinx, error: Exception | None) -> None:
    """Write an index page that opens the book's first page, over http and from a folder alike.

    A link to it is told about as one to the first page is.
    """
    if error or app.builder.name != "html" or app.config.root_doc == "index":
        return
    first = f"{app.config.root_doc}.html"
    told = "\n".join(TOLD.findall(Path(app.outdir, first).read_text("utf8")))
    page = INDEX.format(title=app.config.html_title, first=first, told=told)
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
    # Its own words say what a folded cell's button does; the label would hide them (WCAG 2.5.3).
    body = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")
    body = re.sub(r' id="(?:exercise|proof)-content"', "", body)  # all exercises of a page share it
    # A list of references holds list items; the role that Sphinx writes is not allowed there.
    context["body"] = body.replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app: Sphinx) -> dict[str, object]:
    """Connect the steps; priorities put ours after Jupyter Book's and before the toc's."""
    app.connect("html-page-context", _mend_page, priority=900)
    app.connect("build-finished", _write_index, priority=100)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
