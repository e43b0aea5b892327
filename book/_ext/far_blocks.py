"""Mark the blocks of a long page that are laid out when the reader comes near, with a guess at their size.

book.css does the rest. A chapter's formulas are thousands of boxes, for which a phone would need seconds. The
better the guess, the less the page moves when somebody who has followed a link scrolls up from there.
"""

import html
import itertools
import math
import re

LONG, NEAR = 120, 20  # how many blocks make a page long, and how many of them are near when it opens
BLOCK = re.compile(r'<(p|ul|ol|div(?= class="(?:math|cell_input)\b))(?= (?!data-far)(?!style)|>)')
LINK = re.compile(r'<a (?!class="glossary-link")')
TAG = re.compile(r"<[^>]*>")
WIDTH = 68  # characters of a line of text on a wide screen, with those that formulas keep for screen readers
# Of the text's lines: what stands around a code cell, one of its lines, a formula, one row of several.
CELL, CODE, FORMULA, ROW = 0.8, 0.68, 2.8, 1.6


def lines_of(kind: str, block: str) -> float:
    """Return about how high a block is, in lines of the text around it, from its name and its HTML."""
    if "cell_input" in kind:
        return CELL + CODE * TAG.sub("", block.partition("<pre>")[2]).count("\n")
    if "math" in kind:
        return max(FORMULA, ROW * block.count("<mjx-mtr"))
    items = [html.unescape(TAG.sub("", item)).strip() for item in block.split("<li>")]
    lines = sum(math.ceil(len(item) / WIDTH) for item in items)
    # With some room, so that no link comes to lie outside, upon another; the glossary's are in most blocks.
    return lines + bool(LINK.search(block))


def with_far_blocks(page: str) -> str:
    """Return a page with a mark, if it is long, on the blocks of its text that are far from its beginning."""
    head, article, rest = page.partition("<article")
    if len(BLOCK.findall(rest)) < LONG:
        return page
    count = itertools.count()

    def mark(block: re.Match[str]) -> str:
        """Mark one block, unless it is near."""
        if next(count) < NEAR:
            return block[0]
        start = rest.find(">", block.end()) + 1
        kind = rest[block.start() : start]
        end = "</pre>" if "cell_input" in kind else "</mjx-container>" if "math" in kind else f"</{block[1]}>"
        lines = lines_of(kind, rest[start : rest.find(end, start)])
        return f'{block[0]} data-far style="--lines:{lines:.3g}"'

    return head + article + BLOCK.sub(mark, rest)
