"""Make the PDF of the book: Sphinx writes LaTeX from the stored pages, XeLaTeX sets it.

    python book/_tools/pdf.py

What LaTeX only mumbles about in its log is an error here: a letter that no font has, a reference that leads
nowhere, a line that runs into the margin, a number that is not the site's.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import notebooks

NAME = "vae-book"
# A file of each package of TeX that is needed, beside the program.
FONTS = ["texgyrepagella-regular.otf", "texgyrepagella-math.otf", "DejaVuSansMono.ttf"]
FILES = ["unicode-math.sty", "titlesec.sty", *FONTS]
PACKAGES = "texlive-xetex texlive-latex-extra fonts-texgyre fonts-texgyre-math fonts-dejavu-core"
ADVICE = (
    f"The PDF needs XeLaTeX. On Debian or Ubuntu: apt-get install --no-install-recommends {PACKAGES}; "
    "on macOS install MacTeX, on Windows MiKTeX. (Not found: {})"
)
PASSES = 6  # at most, until all page numbers are settled
STATE = (".aux", ".toc", ".out")  # where LaTeX keeps them from one pass to the next
# Points by which a line may be too long, which nobody sees, and a page too high, whose foot is empty (76).
MARGIN, FOOT = 4.0, 30.0
# What the log says of a page, and what it means for a reader.
SAYS = {
    r"^! .*": "LaTeX stops",
    r"^Missing character: .*": "a letter is missing",
    r"^LaTeX Warning: (?:Hyper r|R|Citation).*undefined.*": "a reference leads nowhere",
    r"^LaTeX Warning: Label .* multiply defined.*": "two things have one name",
    r"^LaTeX Warning: Float too large.*": "a figure is higher than its page",
}
TOO_WIDE = re.compile(r"^Overfull \\hbox \(([\d.]+)pt too wide\).*", re.M)
TOO_HIGH = re.compile(r"^Overfull \\vbox \(([\d.]+)pt too high\).*", re.M)
LABEL = re.compile(r"^\\newlabel\{([^}]*)\}\{\{((?:[^{}]|\{[^{}]*\})*)\}", re.M)
PAGES = re.compile(r"^Output written on .*? \((\d+) pages", re.M)


def missing() -> list[str]:
    """Return the programs and files of TeX that are not there."""
    if shutil.which("xelatex") is None or shutil.which("kpsewhich") is None:
        return ["xelatex"]
    return [name for name in FILES if not _output(["kpsewhich", name]).strip()]


def _output(command: list[str]) -> str:
    """Return what a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def complaints(log: str) -> list[str]:
    """Return what a reader would stumble over, by what LaTeX says in its log."""
    found = [
        f"{meaning}: {line}"
        for pattern, meaning in SAYS.items()
        for line in dict.fromkeys(re.findall(pattern, log, re.M))
    ]
    wide = [match[0] for match in TOO_WIDE.finditer(log) if float(match[1]) > MARGIN]
    high = [match[0] for match in TOO_HIGH.finditer(log) if float(match[1]) > FOOT]
    return found + [f"something runs into the margin: {line}" for line in [*wide, *high]]


def wrong_numbers(folder: Path) -> list[str]:
    """Return where LaTeX's numbers of equations, figures, exercises and theorems are not the site's."""
    aux, site = folder / f"{NAME}.aux", json.loads((folder / "numbers.json").read_text("utf8"))
    labels = LABEL.findall(aux.read_text("utf8")) if aux.exists() else []
    printed = {label: re.sub(r"[{}]|\\relax ?", "", number) for label, number in labels}
    return [
        f"{label} is {printed.get(label, 'not there')} in print and {number} on the site"
        for label, number in site.items()
        if printed.get(label) != number
    ]


def write_latex(output: Path) -> Path:
    """Let Sphinx write LaTeX, with warnings as errors, as for the site; return its folder."""
    folder = output / "_build" / "latex"
    shutil.rmtree(folder, ignore_errors=True)
    tool = Path(sys.executable).with_name("jupyter-book")
    options = ["-W", "-n", "--keep-going", "--quiet", "--builder", "latex", "--path-output", output]
    subprocess.run([tool, "build", *options, "."], cwd=notebooks.ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder


def draw_cover(folder: Path) -> None:
    """Draw the cover with as many pixels as paper shows."""
    import pictures  # loads PyTorch

    pictures.cover(scale=3).save(folder / "cover.png", optimize=True)


def typeset(folder: Path) -> str:
    """Run XeLaTeX until nothing changes any more; return its last log."""
    dated = _output(["git", "-C", str(notebooks.ROOT), "log", "-1", "--format=%ct"]).strip()
    own = {"max_print_line": "10000"}  # the lines of the log unbroken
    if dated:  # the date of the last commit, so that the same book gives the same file
        own |= {"SOURCE_DATE_EPOCH": dated, "FORCE_SOURCE_DATE": "1"}

    def run(*options: str) -> str:
        """Run it once; return what it notes for the next time, or without options its log."""
        command = ["xelatex", "-interaction=nonstopmode", "-halt-on-error", *options, f"{NAME}.tex"]
        subprocess.run(command, cwd=folder, env=os.environ | own, check=False, stdout=subprocess.DEVNULL)
        notes = [folder / f"{NAME}{end}" for end in (STATE if options else (".log",))]
        return "".join(path.read_text("utf8", errors="replace") for path in notes if path.exists())

    notes = ""
    for _ in range(PASSES):
        before, notes = notes, run("-no-pdf")
        if notes == before:
            break
    return run()


def main() -> int:
    """Make the PDF and say where it is; return 1 with the reasons if it is not as it should be."""
    if gaps := missing():
        print(ADVICE.format(", ".join(gaps)), file=sys.stderr)
        return 1
    print("Writing LaTeX from the stored pages, then setting it; two or three minutes")
    try:
        folder = write_latex(notebooks.ROOT)
    except subprocess.CalledProcessError:
        print("Sphinx could not write the LaTeX; what is wrong stands above", file=sys.stderr)
        return 1
    draw_cover(folder)
    log = typeset(folder)
    trouble = [*complaints(log), *wrong_numbers(folder)]
    for line in trouble:
        print(line, file=sys.stderr)
    if not (pages := PAGES.search(log)):
        print(f"There is no PDF; the log is {folder / NAME}.log", file=sys.stderr)
        return 1
    made = folder.parent / f"{NAME}.pdf"
    shutil.copyfile(folder / made.name, made)
    size = made.stat().st_size / 1e6
    print(f"The book in print: {made.relative_to(notebooks.ROOT)}, {pages[1]} pages, {size:.1f} MB")
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main())
