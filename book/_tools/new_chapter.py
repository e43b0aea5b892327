"""Begin a chapter: its notebook, its graders and the mistakes that they catch, with examples to replace.

    python book/_tools/new_chapter.py vae/clinic

What is written passes the tests that every chapter passes, once the chapter is named in _toc.yml, in
book/chapters.yml and in pictures.py: see CONTRIBUTING.md.
"""

import re
import sys

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import execute
import notebooks

OPENING = """# Title of the chapter

**What does this chapter ask?**

[The picture below](#fig-{slug}-first) shows what the question is about, for readers of {cite:t}`kingma2014`.

You will be able to

- say the first thing that readers take away;
- say the second."""
IMPORTS = """import matplotlib.pyplot as plt
import torch

from vae_src import plotting
from vae_src.checks import check
from vae_src.exercises import attempt
from vae_src.exercises import {module} as graders

torch.manual_seed(0)
plotting.use_style()
INK = plotting.COLORS"""
EQUATION = """(sec-{slug}-first)=
## The first section

$$
\\log (a\\,b) = \\log a + \\log b .
$$ (eq-{slug}-first)"""
CHECK = """a, b = torch.rand(2, 100, dtype=torch.double)
left, right = (a * b).log(), a.log() + b.log()
check("log(a b) = log a + log b", left, right, label="eq-{slug}-first")"""
FIGURE = """fig, ax = plt.subplots(figsize=(5, 2.5))
x = torch.linspace(0.01, 2, 100)
ax.plot(x, x.log(), color=INK["bound"])
_ = ax.set(xlabel="a", ylabel="log a, in nats")"""
ALT = "The logarithm of a number rises from minus four and a half to zero at one, in chapter {slug}."
CAPTION = "The logarithm. It is below zero until one, and rises ever more slowly."
TASK = """:::{exercise} What the reader does, number {n}
:label: ex-{slug}-{n}

Write `times_{n}(x)`, which returns {n} times `x`.
:::"""
STUB = '''def times_{n}(x):
    """Return {n} times x."""
    raise NotImplementedError


attempt(graders.grade_{module}_{n}, times_{n})'''
SOLUTION = """<details id="sol-{slug}-{n}">
<summary>Solution</summary>

```python
def times_{n}(x):
    return {n} * x
```

One sentence says why.

</details>"""
GRADERS = '''"""Graders of the chapter "{slug}": each assertion's message is a hint."""

from collections.abc import Callable
'''
GRADER = '''

def grade_{module}_{n}(answer: Callable) -> None:
    """Compare with the product at one place."""
    assert answer(3.0) == {n} * 3.0, "for x = 3 the product is {n} times 3, and yours is another number."
'''
MISTAKES = '''"""Mistakes that readers make in the chapter "{slug}"; each must be caught."""
'''
MISTAKE = """

def power_{n}(x):
    return x**{n}
"""
NUMBERS = (2, 3, 4)  # a chapter has three to six exercises


def fill(text: str, slug: str, n: int = 0) -> str:
    """Return a text with the chapter's name in it."""
    for word, value in {"slug": slug, "module": slug.replace("-", "_"), "n": str(n)}.items():
        text = text.replace(f"{{{word}}}", value)
    return text


def chapter(slug: str) -> notebooks.NotebookNode:
    """Return the notebook, not yet run."""
    figure = {"figure": {"caption": CAPTION, "name": f"fig-{slug}-first"}, "image": {"alt": fill(ALT, slug)}}
    setup = new_code_cell(notebooks.setup_source(), metadata={"tags": ["hide-input"]})
    cells = [new_markdown_cell(OPENING), setup, new_code_cell(IMPORTS)]
    cells += [
        new_markdown_cell(EQUATION),
        new_code_cell(CHECK),
        new_code_cell(FIGURE, metadata={"mystnb": figure}),
    ]
    cells += [new_markdown_cell("## Summary\n\nWhat holds now."), new_markdown_cell("## Exercises")]
    for n in NUMBERS:
        cells += [new_markdown_cell(TASK), new_code_cell(STUB), new_markdown_cell(SOLUTION)]
        for cell in cells[-3:]:
            cell.source = fill(cell.source, slug, n)
    cells.append(new_markdown_cell("## Further reading\n\n{cite:t}`kingma2014` is where to begin."))
    for number, cell in enumerate(cells):
        cell.id = "setup" if cell is setup else f"cell-{number:03d}"
        cell.source = fill(cell.source, slug)
    return execute.normalise(new_notebook(cells=cells))


def main() -> int:
    """Write the three files, unless one of them is there."""
    name = " ".join(sys.argv[1:])
    if not re.fullmatch(r"(?:foundations|vae|beyond)/[a-z\d]+(?:-[a-z\d]+)*", name):
        print(f"A chapter is named after its part's folder and itself, as in vae/clinic; “{name}” is not.")
        return 1
    slug = name.rpartition("/")[2]
    module = slug.replace("-", "_")
    table = ", ".join(f'"ex-{slug}-{n}": [power_{n}]' for n in NUMBERS)
    graders = [fill(GRADERS, slug), *(fill(GRADER, slug, n) for n in NUMBERS)]
    mistakes = [
        fill(MISTAKES, slug),
        *(fill(MISTAKE, slug, n) for n in NUMBERS),
        f"\n\nMISTAKES = {{{table}}}\n",
    ]
    files = {
        f"book/{name}.ipynb": notebooks.dumps(chapter(slug)),
        f"vae_src/exercises/{module}.py": "".join(graders),
        f"tests/exercises/{module}.py": "".join(mistakes),
    }
    if there := [path for path in files if (notebooks.ROOT / path).exists()]:
        print(f"Nothing is written: {', '.join(there)} is there already.")
        return 1
    for path, text in files.items():
        (notebooks.ROOT / path).parent.mkdir(exist_ok=True)
        notebooks.write(notebooks.ROOT / path, text)
        print(f"{path}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
