"""Links to equations that keep their words.

``[Bayes' rule](#eq-bayes)`` reads well in a notebook. Sphinx shows the equation's number in its place, "by
(2.2)", and the reader has to go and look. Here it becomes "by Bayes' rule (2.2)".
"""

from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform


class WordsBeforeTheNumber(SphinxPostTransform):
    """Put the words of each link to an equation before it; the link itself becomes the number."""

    default_priority = 8  # MyST resolves links at 9

    def run(self, **kwargs: Any) -> None:
        """Change the links of one page."""
        for link in list(self.document.findall(pending_xref)):
            if link.get("refexplicit") and str(link.get("reftarget")).startswith("eq-"):
                words = nodes.inline("", "", *(child.deepcopy() for child in link.children))
                link.replace_self([words, nodes.Text("\N{NO-BREAK SPACE}"), link.deepcopy()])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_post_transform(WordsBeforeTheNumber)
    return {"version": "1", "parallel_read_safe": True}
