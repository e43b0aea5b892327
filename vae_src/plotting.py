"""Figures of the book, drawn on axes that the page gives: arrays in, nothing out.

A colour means one thing everywhere: see `COLORS` (Okabe and Ito's palette, which colour-blind readers can
tell apart).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

COLORS = {
    "data": "#4D4D4D",
    "encoder": "#0072B2",
    "decoder": "#D55E00",
    "prior": "#009E73",
    "bound": "#CC79A7",
    "gap": "#E69F00",
}
# Ten classes: Paul Tol's muted scheme; numerals on the map carry the same information.
DIGIT_COLORS = [
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933",
    "#DDCC77", "#CC6677", "#882255", "#AA4499", "#777777",
]  # fmt: skip


def use_style() -> None:
    """Switch matplotlib to the book's style."""
    plt.style.use(Path(__file__).with_name("book.mplstyle"))


def _array(values) -> np.ndarray:
    """Accept arrays and tensors alike, on any device and with or without a gradient."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def tile(images: np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """Lay images out in rows, separated by a light line.

    Args:
        images: ``[n, height, width]`` or ``[n, 1, height, width]``, in [0, 1].
        columns: Images per row; the last row is filled up with blanks.
        gap: Pixels between neighbours.

    Returns:
        One picture, in [0, 1].
    """
    images = _array(images)
    images = images.reshape(-1, *images.shape[-2:])
    n, height, width = images.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), 0.12)
    for k, image in enumerate(images):
        top, left = k // columns * (height + gap), k % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def show_images(
    ax: Axes, images: np.ndarray, columns: int, title: str = "", rows: Sequence[str] = ()
) -> None:
    """Draw images as a sheet of ink on paper.

    Args:
        ax: Where to draw.
        images: ``[n, (1,) height, width]``, in [0, 1]; values outside are clipped.
        columns: Images per row.
        title: Above the sheet.
        rows: One label per row, at its left.
    """
    images = _array(images)
    height = images.shape[-2]
    ax.imshow(tile(images.clip(0, 1), columns), vmin=0, vmax=1)
    ax.set_title(title)
    ax.set_xticks([])
    ax.set_yticks([(height + 2) * k + height / 2 for k in range(len(rows))], rows)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def frame_images(ax: Axes, which: np.ndarray, columns: int, size: int = 28, gap: int = 2) -> None:
    """Put a frame in the colour of a gap around some images of a sheet that `show_images` drew.

    Args:
        ax: Where the sheet was drawn.
        which: ``[n]``, true for each image that gets a frame, in the order of the images.
        columns: Images per row, as in `show_images`.
        size: Height and width of an image, in pixels.
        gap: Pixels between neighbours, as in `tile`.
    """
    for k in np.flatnonzero(_array(which)):
        row, column = divmod(int(k), columns)
        corner = (column * (size + gap) - 1, row * (size + gap) - 1)
        edge = {"ec": COLORS["gap"], "lw": 1.8, "clip_on": False}
        ax.add_patch(Rectangle(corner, size + 1, size + 1, fill=False, **edge))


def learning_curves(
    axes: Sequence[Axes] | np.ndarray, epochs: Sequence[int], train: Mapping, validation: Mapping
) -> None:
    """Draw the ELBO, the distortion and the rate against epochs, on training and validation images.

    Args:
        axes: Three axes, such as ``plt.subplots(1, 3)[1]``.
        epochs: From `History`, as are the next two.
        train: Its ``rate`` and ``distortion``, in nats per image.
        validation: The same, held out; empty if there is none.
    """
    runs = {"train": train, "validation": validation}
    terms = {name: (np.array(run["rate"]), np.array(run["distortion"])) for name, run in runs.items() if run}
    panels = [
        ("ELBO", "bound", lambda rate, distortion: -(rate + distortion)),
        ("distortion", "decoder", lambda rate, distortion: distortion),
        ("rate", "encoder", lambda rate, distortion: rate),
    ]
    for ax, (title, color, term) in zip(axes, panels, strict=True):
        for (name, pair), style in zip(terms.items(), ["--", "-"], strict=False):
            ax.plot(epochs, term(*pair), style, color=COLORS[color], marker=".", label=name)
        ax.set(title=title, xlabel="epoch", ylabel="nats per image")
        ax.legend()


def scatter_codes(ax: Axes, codes: np.ndarray, labels: np.ndarray, title: str = "") -> None:
    """Draw two-dimensional codes, coloured by digit, with each digit's numeral near its median.

    Args:
        ax: Where to draw.
        codes: ``[n, 2]``.
        labels: ``[n]``, from 0 to 9.
        title: Above the map.
    """
    codes, labels = _array(codes), _array(labels)
    for digit, color in enumerate(DIGIT_COLORS):
        own = codes[labels == digit]
        ax.scatter(*own.T, s=3, color=color, alpha=0.45, linewidths=0, rasterized=True)
    digits = np.unique(labels)
    medians = np.array([np.median(codes[labels == digit], axis=0) for digit in digits])
    span = np.array([np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())])
    for digit, place in zip(digits, _spread(medians / span, 0.075) * span, strict=True):
        ring = {"boxstyle": "circle,pad=0.15", "fc": "white", "ec": DIGIT_COLORS[digit], "lw": 1.5}
        ax.text(place[0], place[1], str(digit), weight="bold", size=10, ha="center", va="center", bbox=ring)
    ax.set(title=title, xlabel="$z_1$", ylabel="$z_2$")


def _spread(points: np.ndarray, distance: float) -> np.ndarray:
    """Push points apart, a little at a time, until hardly any two are closer than `distance`."""
    for _ in range(100):
        offset = points[:, None] - points[None]
        length = np.linalg.norm(offset, axis=-1, keepdims=True)
        push = np.clip(distance - length, 0, None) * offset / (length + 1e-9)
        points = points + push.sum(axis=1) / 4
    return points


def posterior_map(
    ax: Axes,
    z1: np.ndarray,
    z2: np.ndarray,
    log_density: np.ndarray,
    q: tuple[np.ndarray, np.ndarray] | None = None,
    title: str = "",
) -> None:
    """Draw a density over a two-dimensional latent space, and q's ellipse on it.

    Args:
        ax: Where to draw.
        z1: ``[n1]``, the raster's first coordinates.
        z2: ``[n2]``, its second ones.
        log_density: ``[n1, n2]``, in nats, up to a constant. The shades end where a Gaussian has its first,
            second, third and fourth standard deviation: 0.5, 2, 4.5 and 8 nats below the peak.
        q: Mean and standard deviation of q, each ``[2]``; its two-standard-deviation ellipse is drawn.
        title: Above the map.
    """
    z1, z2, log_density = _array(z1), _array(z2), _array(log_density)
    below = (log_density - log_density.max()).T
    shades = ["#FBEADF", "#F6D5BF", "#E99A66", COLORS["decoder"]]
    ax.contourf(z1, z2, below, levels=[-8, -4.5, -2, -0.5, 0], colors=shades)
    if q is not None:
        mean, scale = (_array(side) for side in q)
        angle = np.linspace(0, 2 * np.pi, 100)
        circle = np.stack([np.cos(angle), np.sin(angle)])
        ax.plot(*(mean[:, None] + 2 * scale[:, None] * circle), color=COLORS["encoder"], lw=2)
    ax.set(title=title, xlabel="$z_1$", ylabel="$z_2$")


def vae_diagram(ax: Axes) -> None:
    """Draw the path of one image through the model: encoder, noise, code, decoder, probabilities."""
    boxes = [
        (0.00, "image\n$x$", "data"),
        (0.20, "encoder\n$\\mu(x),\\ \\sigma(x)$", "encoder"),
        (0.44, "code\n$z = \\mu + \\sigma\\odot\\epsilon$", "data"),
        (0.70, "decoder\n$\\pi(z)$", "decoder"),
        (0.88, "likelihood\n$p(x\\mid z)$", "data"),
    ]
    widths = [0.12, 0.16, 0.18, 0.11, 0.12]
    for (left, text, color), width in zip(boxes, widths, strict=True):
        ax.add_patch(FancyBboxPatch((left, 0.3), width, 0.34, boxstyle="round,pad=0.008",
                                    fc="white", ec=COLORS[color], lw=1.8))  # fmt: skip
        ax.text(left + width / 2, 0.47, text, ha="center", va="center", size=9.5)
    arrows = [(0.12, 0.20), (0.36, 0.44), (0.62, 0.70), (0.81, 0.88)]
    for start, end in arrows:
        _arrow(ax, (start + 0.012, 0.47), (end - 0.012, 0.47))
    ax.text(0.53, 0.96, "noise $\\epsilon\\sim N(0, I)$", ha="center", size=9.5)
    _arrow(ax, (0.53, 0.92), (0.53, 0.66))
    ax.text(0.28, 0.06, "rate: how far $q(z\\mid x)$ is from $p(z)$", ha="center", color=COLORS["encoder"])
    ax.text(0.84, 0.06, "distortion: $-\\log p(x\\mid z)$", ha="center", color=COLORS["decoder"])
    ax.set(xlim=(-0.02, 1.02), ylim=(0, 1.05))
    ax.axis("off")


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], color: str = "#444444") -> None:
    """Draw a straight arrow in axes coordinates."""
    ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color=color, lw=1.3))
