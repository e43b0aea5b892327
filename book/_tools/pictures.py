"""Draw the book's pictures: its cover, the card that links to it show, and one for the card of each chapter.

    python book/_tools/pictures.py

Each is drawn from what the book computes, with its shipped weights where networks are in it. They are
transparent, in colours that can be seen on a light page and on a dark one.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Ellipse
from PIL import Image
from torch.distributions import Independent, MultivariateNormal, Normal

import notebooks
import vae_src as vs
from vae_src.exact.mixture import em, random_start
from vae_src.inference import optimize_posterior
from vae_src.plotting import COLORS
from vae_src.trained import load_trained

FOLDER = notebooks.ROOT / "book" / "_static"
GREY = "#8a8f98"  # reads on white and on black alike
SIZE = (560, 350)


@functools.cache
def digits() -> vs.ImageData:
    """Return the digits, read once."""
    return vs.mnist()


@functools.cache
def plane() -> vs.VAE:
    """Return the variational autoencoder with two latents."""
    model = vs.mlp_vae(2, (256, 128))
    load_trained(model, "mnist-2d-vae")
    return model


def decoded(z: torch.Tensor) -> np.ndarray:
    """Return the pictures that the decoder draws at places of the plane, in [0, 1]."""
    with torch.no_grad():
        return plane().decode(z.float()).mean.reshape(-1, 28, 28).numpy()


def ink(image: np.ndarray, color: str) -> np.ndarray:
    """Return a picture of one colour, its greys as opacity."""
    rgb = np.broadcast_to(to_rgb(color), (*image.shape, 3))
    return np.concatenate([rgb, image[..., None] ** 0.8], axis=-1)


def canvas(size: tuple[int, int], scale: int = 1) -> tuple[Figure, Axes]:
    """Return a transparent figure that is one empty plot, of a size in pixels, times the scale."""
    fig = plt.figure(figsize=(size[0] / 100, size[1] / 100), dpi=100 * scale)
    fig.patch.set_alpha(0)
    ax = fig.add_axes((0, 0, 1, 1))
    ax.axis("off")
    return fig, ax


def view(ax: Axes, center: tuple[float, float], height: float) -> None:
    """Show a part of the plane, as high as said, without distorting it."""
    width, total = ax.figure.get_size_inches() * 100  # type: ignore[union-attr]
    half = (height / 2 * width / total, height / 2)
    ax.set(xlim=(center[0] - half[0], center[0] + half[0]), ylim=(center[1] - half[1], center[1] + half[1]))


def ellipse(ax: Axes, mean: np.ndarray, covariance: np.ndarray, radius: float, **style: object) -> None:
    """Draw the ellipse of a Gaussian at so many standard deviations."""
    values, vectors = np.linalg.eigh(covariance)
    angle = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1]))
    axes = 2 * radius * np.sqrt(values[::-1])
    ax.add_patch(Ellipse(tuple(mean), *axes, angle=angle, **style))  # type: ignore[arg-type]


# --- one picture for each chapter -----------------------------------------------------------------


def autoencoder_codes(ax: Axes) -> None:
    """Chapter 1: the codes of test digits, and the widest hole that has codes on all sides."""
    model = vs.mlp_autoencoder(2, (256, 128))
    load_trained(model, "mnist-2d-autoencoder")
    with torch.no_grad():
        codes = model.encode(vs.rescale(digits().test.images[:1500])).numpy()
    center = np.median(codes, axis=0)
    height = 1.1 * np.ptp(np.quantile(codes[:, 1], [0.12, 0.88]))
    ax.scatter(*codes[:900].T, s=22, color=COLORS["encoder"], alpha=0.6, linewidths=0)
    axis = np.linspace(-0.28, 0.28, 60) * height
    places = center + np.stack(np.meshgrid(axis * 1.5, axis), -1).reshape(-1, 2)
    distance = np.linalg.norm(places[:, None] - codes, axis=-1).min(1)
    hole = Circle(tuple(places[distance.argmax()]), 0.92 * distance.max(), fill=False, ec=COLORS["gap"], lw=5)
    ax.add_patch(hole)
    view(ax, tuple(center), height)


def mixture(ax: Axes) -> None:
    """Chapter 2: three heaps of digits in two numbers, and the Gaussians that EM finds in them."""
    wanted = torch.isin(digits().train.labels, torch.tensor([0, 1, 4]))
    x = vs.rescale(digits().train.images[wanted][:900]).flatten(1).double()
    points = vs.LinearGaussian.fit(x, 2).encode(x).mean
    model = em(points, random_start(points, 3, seed=1), 60).model
    ax.scatter(*points[:360].T.numpy(), s=26, color=GREY, alpha=0.6, linewidths=0)
    for mean, covariance in zip(model.means.numpy(), model.covariances.numpy(), strict=True):
        for radius, width in [(1, 5), (2, 3)]:
            ellipse(ax, mean, covariance, radius, fill=False, ec=COLORS["encoder"], lw=width)
    low, high = points.quantile(torch.tensor([0.01, 0.99]).double(), dim=0).numpy()
    view(ax, tuple((low + high) / 2), 1.15 * max(high[1] - low[1], (high[0] - low[0]) * SIZE[1] / SIZE[0]))


def two_bumps(ax: Axes) -> None:
    """Chapter 3: a density with two bumps, and the best Gaussian in either direction of the divergence."""
    z = torch.linspace(-6, 6, 1201).double()
    p = 0.6 * Normal(-2, 0.6).log_prob(z).exp() + 0.4 * Normal(1.8, 0.75).log_prob(z).exp()
    mean = (z * p).sum() / p.sum()
    inclusive = Normal(mean, (((z - mean) ** 2 * p).sum() / p.sum()).sqrt())
    grid = torch.cartesian_prod(torch.linspace(-2.5, 2.5, 101), torch.linspace(0.4, 2.5, 106)).double()
    q = Normal(grid[:, :1], grid[:, 1:])
    divergence = (q.log_prob(z).exp() * (q.log_prob(z) - p.log())).sum(1)
    best = grid[divergence.argmin()]
    exclusive = Normal(best[0], best[1])
    ax.fill_between(z, p, color=GREY, alpha=0.35, lw=0)
    ax.plot(z, exclusive.log_prob(z).exp(), color=COLORS["encoder"], lw=6)
    ax.plot(z, inclusive.log_prob(z).exp(), color=COLORS["decoder"], lw=6)
    ax.set(xlim=(-5, 5), ylim=(-0.03, 0.72))


def evidence(ax: Axes) -> None:
    """Chapter 4: for one digit, the evidence as bound and gap, while q moves to the posterior."""
    x = vs.rescale(digits().test.images[:2000]).flatten(1).double()
    model = vs.LinearGaussian.fit(x, 2)
    exact = model.posterior(x[:1])
    full = model.log_marginal(x[:1]).item()
    for k, t in enumerate(torch.linspace(1, 0, 7).double()):
        q = MultivariateNormal(exact.mean + 1.6 * t * exact.stddev, exact.covariance_matrix * (1 + 1.5 * t))
        gap = torch.distributions.kl_divergence(q, exact).item()
        ax.bar(k, full - gap - (full - 4.2), width=0.72, color=COLORS["bound"])
        ax.bar(k, gap, bottom=4.2 - gap, width=0.72, color=COLORS["gap"])
    ax.axhline(4.2, color=GREY, lw=4)
    ax.set(xlim=(-0.8, 6.8), ylim=(0, 4.8))


def moved_noise(ax: Axes) -> None:
    """Chapter 5: the same draws of noise, and where two pairs of mean and spread move them."""
    noise = torch.randn(15, generator=torch.Generator().manual_seed(8)).sort().values.numpy()
    levels = [(2, 0, 1, GREY), (1, 1.1, 0.45, COLORS["encoder"]), (0, -0.5, 1.25, COLORS["encoder"])]
    places = [mean + spread * noise for _, mean, spread, _ in levels]
    for upper, lower, height in [(places[0], places[1], 2), (places[1], places[2], 1)]:
        ax.plot([upper, lower], [height, height - 1], color=GREY, lw=1.8, alpha=0.7)
    for z, (height, _, _, color) in zip(places, levels, strict=True):
        ax.scatter(z, np.full_like(z, height), s=150, color=color, zorder=3, linewidths=0)
    ax.set(xlim=(-3.2, 3.2), ylim=(-0.35, 2.35))


def searches(ax: Axes) -> None:
    """Chapter 6: twelve searches for the codes of twelve digits, and what a network says at once."""
    x = vs.binarize(digits().test.images, torch.Generator().manual_seed(0))[:12]
    model, q = plane(), Independent(Normal(torch.zeros(12, 2), torch.ones(12, 2)), 1)
    ways = [q.mean.numpy()]
    for leg in range(50):
        q = optimize_posterior(model, x, start=q, num_steps=4, num_samples=64, seed=leg).q
        ways.append(q.mean.detach().numpy())
    with torch.no_grad():
        answers = model.encode(x).mean.numpy()
    for way in np.stack(ways, axis=1):
        ax.plot(*way.T, color=COLORS["gap"], lw=3.5, alpha=0.9)
    ax.scatter(*answers.T, s=170, color=COLORS["encoder"], zorder=3, linewidths=0)
    view(ax, (-0.1, 0.15), 5.4)


def latent_digits(ax: Axes) -> None:
    """Chapter 7: what the decoder draws all over the latent plane, at equal steps of the prior."""
    columns, rows = 8, 5
    across, down = (Normal(0, 1).icdf((torch.arange(n) + 0.5) / n) for n in (columns, rows))
    z = torch.stack(torch.meshgrid(across, -down, indexing="xy"), -1).reshape(-1, 2)
    for k, image in enumerate(decoded(z)):
        row, column = divmod(k, columns)
        ax.imshow(ink(image, COLORS["decoder"]), extent=(column, column + 1, -row - 1, -row))
    ax.set(xlim=(-0.05, columns + 0.05), ylim=(-rows - 0.03, 0.03), aspect="equal")


def judges(ax: Axes) -> None:
    """Chapter 8: the log-weights of one digit, the ELBO as their mean, and the log of their mean."""
    x = vs.binarize(digits().test.images, torch.Generator().manual_seed(0))[2:3]
    with torch.no_grad(), vs.seeded(0):
        log_w = vs.log_weights(plane(), x, 4000)[:, 0].double()
    full = log_w.logsumexp(0) - math.log(len(log_w))
    low, high = log_w.quantile(torch.tensor([0.03, 0.995]).double()).tolist()
    ax.hist(log_w.numpy(), bins=np.linspace(low, high, 28), color=GREY, alpha=0.6, rwidth=0.86)
    for value, color in [(log_w.mean(), COLORS["bound"]), (full, COLORS["decoder"])]:
        ax.axvline(value.item(), color=color, lw=7)
    ax.set(xlim=(low, high))


CHAPTERS: list[Callable[[Axes], None]] = [
    autoencoder_codes, mixture, two_bumps, evidence, moved_noise, searches, latent_digits, judges,
]  # fmt: skip


# --- the cover --------------------------------------------------------------------------------------


def manifold(ax: Axes, count: int) -> None:
    """Draw decoded digits as a sunflower of which each seed has the same share of the prior.

    Seed k of n lies on the circle inside which the prior has k/n of its mass, and, in the picture, k/n of
    the disc. Green circles hold a quarter, a half, and three quarters of it, and all that is drawn.
    """
    k = torch.arange(count) + 0.5
    angle, mass = k * math.pi * (3 - math.sqrt(5)), k / count
    direction = torch.stack([angle.cos(), angle.sin()], -1)
    z, place = (-2 * torch.log1p(-mass)).sqrt()[:, None] * direction, mass.sqrt()[:, None] * direction
    for share in (0.25, 0.5, 0.75, 1):
        ring = {"fill": False, "ec": COLORS["prior"], "lw": 1.6, "ls": (0, (1, 2.4)), "capstyle": "round"}
        ax.add_patch(Circle((0, 0), math.sqrt(share) + (0.03 if share == 1 else 0), **ring))
    half = 0.98 / math.sqrt(count)
    for image, (x, y) in zip(decoded(z), place.tolist(), strict=True):
        ax.imshow(ink(image, COLORS["decoder"]), extent=(x - half, x + half, y - half, y + half), zorder=2)
    ax.set(xlim=(-1.06, 1.06), ylim=(-1.06, 1.06), aspect="equal")


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """Draw as matplotlib does of itself, whatever the style around it."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


@plain()
def cover(scale: int = 1) -> Image.Image:
    """Return the cover: the latent plane, decoded; the printed book needs more pixels than the site."""
    fig, ax = canvas((560, 560), scale)
    manifold(ax, 180)
    return drawn(fig)


def card() -> Image.Image:
    """Return what a link to the book shows elsewhere: its name beside the cover, on paper."""
    fig, ax = canvas((1200, 630))
    fig.patch.set(alpha=1, facecolor="white")
    ax.set_position((0.49, 0.03, 0.5, 0.94))
    manifold(ax, 180)
    style: dict[str, Any] = {"family": "STIXGeneral", "color": "#22262b"}  # a serif that matplotlib brings
    for row, line in enumerate(["Variational", "Autoencoders,", "Executed"]):
        fig.text(0.055, 0.70 - 0.135 * row, line, size=56, weight="bold", **style)
    for row, line in enumerate(["Derived, built in PyTorch,", "and checked on every page."]):
        fig.text(0.058, 0.24 - 0.075 * row, line, size=29, **style)
    return drawn(fig)


def touch_icon() -> Image.Image:
    """Return the mark of the book as a telephone shows it on its first screen: favicon.svg, on white."""
    fig, ax = canvas((180, 180))
    fig.patch.set(alpha=1, facecolor="white")
    ax.add_patch(Circle((32, 32), 28.5, fill=False, ec=COLORS["prior"], lw=180 * 6 / 84 * 0.72))
    ax.add_patch(Ellipse((32, 32), 40, 21, angle=32, color=COLORS["encoder"]))
    ax.add_patch(Circle((32, 32), 5.5, color=COLORS["gap"]))
    ax.set(xlim=(-10, 74), ylim=(-10, 74))
    return drawn(fig)


def drawn(fig: Figure) -> Image.Image:
    """Return a figure as a picture, and close it."""
    fig.canvas.draw()
    picture = Image.fromarray(np.asarray(fig.canvas.buffer_rgba()).copy())  # type: ignore[attr-defined]
    plt.close(fig)
    return picture


def chapter_picture(draw: Callable[[Axes], None]) -> Image.Image:
    """Return the picture of one chapter."""
    fig, ax = canvas(SIZE)
    draw(ax)
    return drawn(fig)


def save(picture: Image.Image, path: Path) -> None:
    """Save a picture of few colours small: each of its pixels is one of 40."""
    few = picture.quantize(40, method=Image.Quantize.FASTOCTREE).convert("RGBA")
    few.save(path, lossless=True, method=6, exact=False)


def write(folder: Path) -> None:
    """Draw all pictures into a folder, which is the site's unless a test asks."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    with plain():
        for number, draw in enumerate(CHAPTERS, 1):
            save(chapter_picture(draw), folder / "pictures" / f"{number}.webp")
        save(cover(), folder / "pictures" / "cover.webp")
        for name, picture in {"card": card(), "touch-icon": touch_icon()}.items():
            few = picture.convert("RGB").quantize(32, dither=Image.Dither.NONE)
            few.save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    write(FOLDER)
