"""How fast `fit` trains, as a share of the matrix products that nobody can avoid.

    python tests/benchmarks/training_speed.py --threads 1
    python tests/benchmarks/training_speed.py --parts            where the time of one step goes
    python tests/benchmarks/training_speed.py --device cuda      with the recorded step of `fit`

The work is one VAE, 784-400-(20,20)-20-400-784 with ReLU, Adam 1e-3 and batches of 128 MNIST images in
float32, trained four ways in turn, so that a slow moment of the machine hits all of them:

- `fit`: as a chapter calls it, binarisation, progress bar and history included;
- `DataLoader`: the loop that most tutorials write, over torchvision's MNIST with `ToTensor`;
- `in memory`: the same loop over a tensor, batches by index;
- `floor`: `torch.mm` over exactly the shapes of one step's forward and backward pass, and nothing else.

Only the ratios within one run mean anything: they are what it prints.

On two cores of an AMD EPYC (torch 2.14.1, one thread) `fit` reached 0.57 of the floor, 1.9 times the
DataLoader and 1.04 times the plain loop. ``--parts`` tells where the rest goes: of 7.7 ms a step,
encoder, decoder and their gradients take 5.4 where their products alone take 4.5 (biases, activations,
and weights that Adam has swept from the cache), the pixels' log-likelihood with its gradient 1.0, Adam
0.6, which memory bounds, and tossing the pixels 0.5. Networks and Adam alone, without any loss, came to
0.79. Compiling the loss with torch.compile changed nothing (0.56 against 0.57 in one run) and takes
longer than a chapter may.
"""

import argparse
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from vae_src import TrainConfig, binarize, elbo, fit, kl, mlp_vae, mnist, rescale

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


def floor(device: torch.device) -> Callable[[], None]:
    """Build the function that multiplies the matrices of as many steps as `IMAGES` images take."""
    products = []
    for i, o in LAYERS:
        x, weight, out = (torch.randn(*shape, device=device) for shape in ((BATCH, i), (o, i), (BATCH, o)))
        products += [(x, weight.T), (out.T, x)] + ([(out, weight)] if i != 784 else [])

    def multiply() -> None:
        for _ in range(IMAGES // BATCH):
            for a, b in products:
                torch.mm(a, b)

    return multiply


def contenders(device: torch.device) -> dict[str, Callable[[], object]]:
    """Build one function for each way, each of which sees `IMAGES` images."""
    cache = os.environ.get("VAE_SRC_DATA", Path.home() / ".cache" / "vae_src")
    images = mnist(device=device).train.images[:IMAGES]
    flat = rescale(images).flatten(1)
    folder = datasets.MNIST(cache, transform=transforms.ToTensor())
    loader = DataLoader(Subset(folder, range(IMAGES)), batch_size=BATCH, shuffle=True)
    ours, plain = mlp_vae(20, (400,)).to(device), TutorialVAE().to(device)
    adam = torch.optim.Adam(plain.parameters(), lr=1e-3)
    config = TrainConfig(num_epochs=1, batch_size=BATCH)
    graph = device.type == "cuda"
    return {
        "fit": lambda: fit(ours, images, elbo, config, prepare=binarize, cuda_graph=graph),
        "DataLoader": lambda: steps((x.flatten(1).to(device) for x, _ in loader), plain, adam),
        "in memory": lambda: steps((flat[i] for i in torch.randperm(IMAGES).split(BATCH)), plain, adam),
        "floor": floor(device),
    }


def compare(device: torch.device, rounds: int) -> None:
    """Time the contenders in turn; print each one's share of the floor, and how far `fit` is ahead of it."""
    ways = contenders(device)
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):  # the first warms up
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn > 0:
                speeds[name].append(IMAGES / (time.perf_counter() - started))
    for name, values in speeds.items():
        share = statistics.median(v / f for v, f in zip(values, speeds["floor"], strict=True))
        ahead = statistics.median(f / v for v, f in zip(values, speeds["fit"], strict=True))
        rate = f"{statistics.median(values):10,.0f} images/s"
        print(f"{name:12}{rate}   {share:5.2f} of the floor   fit is {ahead:5.2f} times as fast")


def parts() -> None:
    """Print how long each part of a step takes, in processor time: the median of 240 steps on the CPU."""
    model, images = mlp_vae(20, (400,)), mnist().train.images
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    spent: dict[str, list[int]] = defaultdict(list)
    since = 0

    def lap(name: str) -> None:
        nonlocal since
        spent[name].append(time.process_time_ns() - since)
        since = time.process_time_ns()

    for index in torch.randperm(len(images))[: 240 * BATCH].split(BATCH):
        since = time.process_time_ns()
        x = binarize(images[index])
        lap("data: gather, toss")
        q_z = model.encode(x)
        z = q_z.rsample()
        lap("forward: encoder")
        logits = model.decoder[:-1](z)
        logits.register_hook(lambda _: lap("backward: log-likelihood"))
        lap("forward: decoder")
        log_p = model.decoder[-1](logits).log_prob(x)
        lap("forward: log-likelihood")
        loss = (kl(q_z, model.prior) - log_p).mean()
        lap("forward: KL")
        adam.zero_grad()
        loss.backward()
        lap("backward: the rest")
        adam.step()
        lap("Adam")
    multiply = floor(torch.device("cpu"))
    multiply()
    started = time.process_time_ns()
    multiply()
    spent["(the floor: all matrix products)"] = [(time.process_time_ns() - started) * BATCH // IMAGES]
    for name, values in spent.items():
        print(f"{name:34}{statistics.median(values) / 1e6:6.2f} ms")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--parts", action="store_true", help="where the time of one step goes (CPU)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{arguments.threads} thread(s)"
    if arguments.parts:
        print(f"{name}, medians of 240 steps")
        parts()
    else:
        print(f"{name}, medians of {arguments.rounds} rounds; ratios are taken by round")
        compare(device, arguments.rounds)


if __name__ == "__main__":
    main()
