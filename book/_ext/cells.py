"""Which lines of a cell's output are a check, and cells that a page of text quotes.

A line that begins with a tick, and its figures below it, become one mark. The style sheet gives it a green
rule, so that a reader sees at a glance what was checked. A page of text shows a cell of a notebook, with
what it printed, by the cell's id:

    ```{executed} foundations/elbo.ipynb gap-random-2
    ```
"""

import re
from typing import Any

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

OUTPUT = re.compile(r'(<div class="output stream [^>]*><div class="highlight"><pre>)(.*?)(</pre>)', re.S)
CHECK = re.compile(r"^((?:<span></span>)?)(✓ [^\n]*(?:\n    [^\n]*)*)\n?", re.M)


def marked(output: str) -> str:
    """Return the text of an output with each of its checks marked; the mark is a line of its own."""
    return CHECK.sub(r'\1<span class="check">\2</span>', output)


def _mark_checks(app: Sphinx, pagename: str, template: str, context: dict, doctree: object) -> None:
    """Mark the checks of one page."""
    body = context.get("body", "")
    context["body"] = OUTPUT.sub(lambda output: output[1] + marked(output[2]) + output[3], body)


class Executed(SphinxDirective):
    """Show, in a page of text, the code and the printed output of a cell of a notebook."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        """Return the two as a notebook's page shows them."""
        relative, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        cells = {cell.id: cell for cell in nbformat.read(path, as_version=4).cells}
        cell = cells.get(self.arguments[1], {})
        printed = "".join(output.get("text", "") for output in cell.get("outputs", []))
        if not printed:
            raise self.error(f"{relative} has no executed cell {self.arguments[1]!r} that prints")
        code = nodes.literal_block(cell.source, cell.source, language="python")
        output = nodes.literal_block(printed, printed, language="myst-ansi", classes=["output", "stream"])
        above = nodes.container("", code, classes=["cell_input"])
        below = nodes.container("", output, classes=["cell_output"])
        return [nodes.container("", above, below, classes=["cell"])]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_directive("executed", Executed)
    app.connect("html-page-context", _mark_checks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
