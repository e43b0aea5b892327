"""Cut a font down to the characters that the site shows of it."""

import io
import logging
from collections.abc import Iterable
from pathlib import Path

from fontTools import subset

logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of each table that it cuts


def cut(font: Path, codes: Iterable[int]) -> bytes:
    """Return a font with the characters of the given code points only, as a WOFF file."""
    options = subset.Options(flavor="woff", layout_features=[], notdef_outline=True)
    options.drop_tables += ["GSUB", "GPOS", "GDEF", "FFTM"]
    small = subset.load_font(str(font), options)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=codes)
    cutter.subset(small)
    file = io.BytesIO()
    subset.save_font(small, file, options)
    return file.getvalue()
