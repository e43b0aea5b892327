"""What an encoder's q lacks, and why, on test and on training digits: chapter 6's table.

For the table's model with 50 latents and the first 1,000 digits of either split, binarised once: the ELBO of
the encoder's q, of the best diagonal Gaussian and of the best Gaussian, and log p(x) by importance sampling
from the last.
"""

import time
from typing import Any

from torch import Tensor, nn

from vae_src.data import ImageData, Split
from vae_src.evaluation import estimate
from vae_src.experiments.iwae_table1 import binarized
from vae_src.experiments.records import write_record
from vae_src.inference import InferenceGaps, inference_gaps
from vae_src.models import VAE, mlp_vae
from vae_src.trained import load_trained

NAME, MODEL = "inference-gaps-50d", "iwae-table1-k1-seed0"
NUM_IMAGES = 1000
SETTINGS = {"num_steps": 500, "num_samples": 8, "num_evaluations": 1000, "num_importance": 5000, "seed": 0}
GAPS = ("inference", "amortization", "approximation", "approximation_full")


def build() -> VAE:
    """Build the model, as in the table."""
    return mlp_vae(50, (200, 200), activation=nn.Tanh)


def run(data: ImageData) -> None:
    """Measure the model and write the record."""
    model = build().to(data.train.images.device)
    load_trained(model, MODEL)
    splits = {"test": data.test, "train": data.train}
    started = time.perf_counter()
    gaps = {which: inference_gaps(model, images(s), **SETTINGS) for which, s in splits.items()}
    result = {
        "question": "What does the encoder's bound lack, and is it the encoder's fault or the Gaussian's?",
        "model": MODEL,
        "settings": SETTINGS,
        "seed": SETTINGS["seed"],
        "prepare": "binarize",
        "minutes": round((time.perf_counter() - started) / 60, 2),
        "metrics": {which: summary(values) for which, values in gaps.items()},
        "values": {  # nats per image, in the order of the data
            which: {rung: [round(v, 3) for v in column.tolist()] for rung, column in values._asdict().items()}
            for which, values in gaps.items()
        },
    }
    write_record(NAME, result, data, weights=MODEL)


def images(split: Split, num_images: int | None = None) -> Tensor:
    """The first images of a split, tossed once: a shorter selection holds the same pixels as a longer one."""
    return binarized(split.images[:NUM_IMAGES])[:num_images]


def summary(gaps: InferenceGaps) -> dict[str, Any]:
    """Means with standard errors over images; the gaps' are those of paired differences."""
    columns = gaps._asdict() | {name: getattr(gaps, name) for name in GAPS}
    return {name: estimate(values)._asdict() | {"images": len(values)} for name, values in columns.items()}
