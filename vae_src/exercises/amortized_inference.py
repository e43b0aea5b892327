"""Graders of the chapter "Amortized inference": each assertion's message is a hint."""

import itertools
import math
from collections.abc import Callable

import torch
from torch.distributions import Distribution, Independent, Normal

from vae_src.exact import LinearGaussian


def grade_amortized_break_even(answer: Callable) -> None:
    """Try costs that divide evenly and costs that do not, then refinement, cheap and too dear."""
    found = answer(150_000, 50, 0)
    assert found != 150_000 * 50, "this multiplies the two costs: how often does the search's fit in?"
    assert found != 3001, "at exactly 3,000 digits both ways cost the same, and that is not more: no + 1."
    assert found == 3000, f"150,000 evaluations are 3,000 searches of 50 each; you say {found}."
    uneven = answer(100, 30, 0)
    assert uneven != 3, "three searches of 30 cost 90, less than the training's 100: round up, not down."
    assert uneven == 4, f"four searches of 30 are the first to cost 100 or more; you say {uneven}."
    refined = answer(100, 30, 10)
    assert refined != 4, "refining costs 10 for every digit, too, so a digit saves 20 and not 30."
    assert refined != 3, "refining costs extra: 30 + 10 is what nobody pays. A digit saves 30 − 10."
    assert refined == 5, f"with 20 saved per digit, 100 are saved by the fifth; you say {refined}."
    assert answer(100, 30, 30) == math.inf, (
        "if refining costs as much as searching, the training is never paid off: return math.inf."
    )
    assert answer(100, 30, 40) == math.inf, (
        "if refining costs more than searching, every digit makes the loss larger: return math.inf."
    )


def grade_amortized_split(answer: Callable) -> None:
    """Digits that differ by far more than their gaps: only a paired standard error is small."""
    log_p = torch.tensor([-60.0, -90.0, -120.0, -100.0]).double()
    best = log_p - torch.tensor([1.0, 2.0, 1.0, 2.0]).double()
    encoder = best - torch.tensor([2.0, 3.0, 5.0, 2.0]).double()
    found = [tuple(float(v) for v in pair) for pair in answer(encoder, best, log_p)]
    assert len(found) == 2, f"return two pairs, for amortization and for approximation, not {len(found)}."
    (amortization, error), (approximation, other) = found
    assert abs(amortization + 3.0) > 1e-9, "a gap is not negative: what is higher comes first."
    assert abs(amortization - 1.5) > 1e-9, "the order is turned: amortization first, then approximation."
    assert abs(amortization - 4.5) > 1e-9, (
        "this is the whole inference gap: the encoder's part ends at the best q, not at log p(x)."
    )
    assert abs(amortization - 3.0) < 1e-9, f"the encoder gives away 3 nats on average, not {amortization:g}."
    assert abs(approximation - 4.5) > 1e-9, "this is the whole inference gap: start from the best q."
    assert abs(approximation - 1.5) < 1e-9, f"the family gives away 1.5 nats, not {approximation:g}."
    right = torch.tensor([2.0, 3.0, 5.0, 2.0]).std().item() / 2
    assert error < 5, (
        "this standard error is that of two separate means. The values are paired, digit by digit: take the "
        "differences first, in which what makes one digit harder than another cancels."
    )
    assert abs(error - 2 * right) > 1e-6, "this is the spread over digits: divide by the root of n."
    assert abs(error - right * math.sqrt(3 / 4)) > 1e-6, (
        "divide the squares by n − 1 and not by n, as std does."
    )
    assert abs(error - right) < 1e-6, f"amortization's standard error is {right:.3f}, not {error:.3f}."
    assert abs(other - math.sqrt(1 / 3) / 2) < 1e-6, (
        f"approximation's standard error is {math.sqrt(1 / 3) / 2:.3f}, not {other:.3f}."
    )


def grade_amortized_diagonal(answer: Callable) -> None:
    """Compare with the gap of the best diagonal q for a random decoder, then for a single latent."""
    weight = torch.tensor([[2.0, 1.0], [0.5, 1.5], [1.0, -0.5]]).double()
    scale = 0.7
    gram = weight.T @ weight
    small_m = gram + scale**2 * torch.eye(2).double()
    right = 0.5 * (small_m.diag().log().sum() - small_m.logdet()).item()
    found = float(answer(weight, scale))
    assert found > 0, "the price is positive: M's diagonal has the larger product, so it comes first."
    assert abs(found - 2 * right) > 1e-9, "the Gaussian divergence has a ½ before the logarithms."
    without = 0.5 * (gram.diag().log().sum() - gram.logdet()).item()
    assert abs(found - without) > 1e-9, "M is WᵀW + σ²I: without σ² the prior has no say."
    once = gram + scale * torch.eye(2).double()
    assert abs(found - 0.5 * (once.diag().log().sum() - once.logdet()).item()) > 1e-9, (
        "M contains the noise's variance, σ², and not its standard deviation."
    )
    assert abs(found - right) < 1e-9, (
        f"here the best diagonal q is {right:.4f} nats short, not {found:.4f}: a half of Σ log M_jj − log|M|."
    )
    one = torch.tensor([[1.0], [2.0]]).double()
    assert abs(float(answer(one, 0.5))) < 1e-9, "with one latent there is nothing to tilt: the price is 0."


def grade_amortized_importance(answer: Callable) -> None:
    """Average over all batches, each with its probability: only what is unbiased returns the mean."""
    bounds = torch.tensor([-60.0, -90.0, -150.0], dtype=torch.double)
    chances = torch.tensor([0.2, 0.3, 0.5], dtype=torch.double)
    average = _over_all_batches(answer, bounds, chances, 2)
    assert abs(average - (chances @ bounds).item()) > 1e-6, (
        "on average this is −114, the mean weighted by the chances: digits that are drawn more often must "
        "count less each time."
    )
    assert abs(average + 300) > 1e-6, "on average this is the sum over the data: divide by their number."
    assert abs(average + 200) > 1e-6, "a mean over the batch, not a sum: two pictures were drawn."
    assert abs(average + 100) < 1e-6, (
        f"over all nine batches of two, your estimate averages {average:.2f}; the data's mean is −100. "
        "Divide each bound by N times its chance, and take the batch's mean."
    )
    four, uneven = torch.tensor([-70.0, -80.0, -90.0, -160.0]), torch.tensor([0.1, 0.2, 0.3, 0.4])
    average = _over_all_batches(answer, four.double(), uneven.double(), 3)
    assert abs(average + 100) < 1e-4, (
        f"with four pictures and batches of three the average is {average:.2f} and not −100: "
        "let num_pictures and the batch's own size decide."
    )


def _over_all_batches(answer: Callable, bounds: torch.Tensor, chances: torch.Tensor, size: int) -> float:
    """Average an estimate over all batches of a size, each as likely as its draws."""
    average = 0.0
    for batch in itertools.product(range(len(bounds)), repeat=size):
        pick = torch.tensor(batch)
        value = torch.as_tensor(answer(bounds[pick], chances[pick], len(bounds)))
        assert value.ndim == 0, f"return one number for the batch, not the shape {list(value.shape)}."
        average += (chances[pick].prod() * value).item()
    return average


def grade_amortized_refine(answer: Callable) -> None:
    """Start beside a posterior that is known, look at no steps, at many, and at what was moved."""
    model = _Beside()
    x = torch.tensor([[1.0, -0.5, 2.0], [0.0, 1.0, -1.0]]).double()
    first = model.encode(x)
    start = answer(model, x, 0)
    assert isinstance(start, Distribution), "return the refined q, a distribution, not its parameters."
    assert start.batch_shape == (2,), f"one q per row of x: batch shape [2], not {list(start.batch_shape)}."
    assert torch.allclose(start.mean, first.mean), "with no steps the answer is the encoder's: begin there."
    assert torch.allclose(start.stddev, first.stddev), "the widths begin at the encoder's, too."
    q = answer(model, x, 400)
    exact = model.linear.posterior(x)
    width = exact.precision_matrix.diagonal(dim1=-2, dim2=-1) ** -0.5
    assert not torch.allclose(q.mean, first.mean), "after 400 steps q has not moved: is there a gradient?"
    off = (q.mean - exact.mean).abs().max().item()
    assert off < 3, f"q's mean is {off:.1f} from the posterior's and going away: the ELBO is to be raised."
    assert off < 0.3, (  # the start is 0.8 away, and the last of noisy steps about 0.1
        f"after 400 steps q's mean is still {off:.2f} from the posterior's: raise the mean of log p(x, z) − "
        "log q(z) by draws of rsample, with Adam at a rate of about 0.05."
    )
    ratio = (q.stddev / width).detach()
    assert ratio.min() > 0.4, (
        f"q has shrunk to {ratio.min():.2f} of its best width: −log q(z), which rewards width, is missing."
    )
    assert (ratio - 1).abs().max() < 0.3, (
        f"q's widths are {ratio.min():.2f} to {ratio.max():.2f} times the best ones: refine log σ as well."
    )
    assert model.shift.grad is None, (
        "the model's own parameters got gradients: take the encoder's answer out of the graph with detach, "
        "and optimise copies."
    )
    assert model.weight.grad is None, (
        "the decoder's weights got gradients, which its next training step would use: instead of calling "
        "backward, ask torch.autograd.grad for those of your copies alone."
    )


class _Beside:
    """A linear model whose encoder answers beside the posterior, and too narrowly."""

    def __init__(self) -> None:
        self.weight = torch.tensor([[1.0, 0.4], [0.0, 1.0], [0.6, -0.3]]).double().requires_grad_()
        self.linear = LinearGaussian(self.weight.detach(), torch.zeros(3).double(), scale=0.6)
        self.shift = torch.tensor([0.8, -0.6]).double().requires_grad_()

    @property
    def prior(self) -> Distribution:
        return self.linear.prior

    def decode(self, z: torch.Tensor) -> Distribution:
        return LinearGaussian(self.weight, self.linear.offset, self.linear.scale).decode(z)

    def encode(self, x: torch.Tensor) -> Distribution:
        mean = self.linear.posterior(x).mean + self.shift
        return Independent(Normal(mean, torch.full_like(mean, 0.2)), 1)
