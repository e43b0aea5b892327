"""Chapter numbers that leave room for chapters which are still to be written.

Sphinx counts the chapters that exist. The configuration says how many are missing before those of a folder.
With ``chapters_to_come: {book/vae/: 3}`` the fourth that exists, if it lies there, is chapter 7, and so are
its sections, equations and figures.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx_external_toc.collectors import TocTreeCollectorWithStyles as Collector


def _leave_room(app: Sphinx) -> None:
    """Let Sphinx number the sections, then move the numbers; after all extensions have had their say."""
    assign = Collector.assign_section_numbers

    def assign_and_move(self: Collector, env: BuildEnvironment) -> list[str]:
        changed = assign(self, env)
        for folder, missing in app.config.chapters_to_come.items():
            for page in (name for name in env.toc_secnumbers if name.startswith(folder)):
                _move(env, page, missing)
        return changed

    Collector.assign_section_numbers = assign_and_move


def _move(env: BuildEnvironment, page: str, missing: int) -> None:
    """Move the numbers of a page's sections, of its entries in the contents, and of its title."""
    numbers = env.toc_secnumbers[page]
    for anchor, number in numbers.items():
        if number:
            numbers[anchor] = (number[0] + missing, *number[1:])
    for numbered in [*env.tocs[page].findall(nodes.reference), env.titles[page]]:
        if number := numbered.get("secnumber"):
            numbered["secnumber"] = [number[0] + missing, *number[1:]]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_config_value("chapters_to_come", {}, "env")
    app.connect("builder-inited", _leave_room)
    return {"version": "1", "parallel_read_safe": False}
