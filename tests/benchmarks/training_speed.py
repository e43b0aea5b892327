"""How fast `fit` trains, as a share of the matrix products that nobody can avoid.

    python tests/benchmarks/training_speed.py --threads 1

The work is one VAE, 784-400-(20,20)-20-400-784 with ReLU, Adam 1e-3 and batches of 128 MNIST images in
float32, trained four ways in turn, so that a slow moment of the machine hits all of them:

- `fit`: as a chapter calls it, binarisation, progress bar and history included;
- `DataLoader`: the loop that most tutorials write, over torchvision's MNIST with `ToTensor`;
- `in memory`: the same loop over a tensor, batches by index;
- `floor`: `torch.mm` over exactly the shapes of one step's forward and backward pass, and nothing else.

Only the ratios within one run mean anything: they are what it prints.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from vae_src import TrainConfig, binarize, elbo, fit, mlp_vae, mnist, rescale

BATCH, IMAGES = 128, 128 * 120
LAYERS = [(784, 400), (400, 40), (20, 400), (400, 784)]


class TutorialVAE(nn.Module):
    """The VAE as tutorials write it."""

    def __init__(self):
        super().__init__()
        self.hidden, self.heads = nn.Linear(784, 400), nn.Linear(400, 40)
        self.widen, self.pixels = nn.Linear(20, 400), nn.Linear(400, 784)

    def loss(self, x: Tensor) -> Tensor:
        """Return the mean negative ELBO of flat images."""
        mu, logvar = self.heads(functional.relu(self.hidden(x))).chunk(2, -1)
        z = mu + (0.5 * logvar).exp() * torch.randn_like(mu)
        logits = self.pixels(functional.relu(self.widen(z)))
        cross_entropy = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return (cross_entropy - 0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum()) / len(x)


def steps(batches, model: TutorialVAE, optimizer: torch.optim.Optimizer) -> None:
    """Take one plain optimisation step for each batch of flat images."""
    for x in batches:
        optimizer.zero_grad()
        model.loss(x).backward()
        optimizer.step()


def contenders() -> dict[str, Callable[[], None]]:
    """Build one function for each way, each of which sees `IMAGES` images."""
    cache = os.environ.get("VAE_SRC_DATA", Path.home() / ".cache" / "vae_src")
    images = mnist().train.images[:IMAGES]
    flat = rescale(images).flatten(1)
    folder = datasets.MNIST(cache, transform=transforms.ToTensor())
    loader = DataLoader(Subset(folder, range(IMAGES)), batch_size=BATCH, shuffle=True)
    ours, plain = mlp_vae(20, (400,)), TutorialVAE()
    adam = torch.optim.Adam(plain.parameters(), lr=1e-3)
    config = TrainConfig(num_epochs=1, batch_size=BATCH)
    products = []
    for i, o in LAYERS:
        x, weight, out = torch.randn(BATCH, i), torch.randn(o, i), torch.randn(BATCH, o)
        products += [(x, weight.T), (out.T, x)] + ([(out, weight)] if i != 784 else [])

    def floor() -> None:
        for _ in range(IMAGES // BATCH):
            for a, b in products:
                torch.mm(a, b)

    return {
        "fit": lambda: fit(ours, images, elbo, config, prepare=binarize) and None,
        "DataLoader": lambda: steps((x.flatten(1) for x, _ in loader), plain, adam),
        "in memory": lambda: steps((flat[i] for i in torch.randperm(IMAGES).split(BATCH)), plain, adam),
        "floor": floor,
    }


def main() -> None:
    """Time the contenders in turn and print each one's share of the floor."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ways = contenders()
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()  # warm up
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            speeds[name].append(IMAGES / (time.perf_counter() - started))
    print(f"{arguments.threads} thread(s), medians of {arguments.rounds} rounds; shares are taken by round")
    for name, values in speeds.items():
        share = statistics.median(v / f for v, f in zip(values, speeds["floor"], strict=True))
        print(f"{name:12}{statistics.median(values):10,.0f} images/s   {share:5.2f} of the floor")


if __name__ == "__main__":
    main()
