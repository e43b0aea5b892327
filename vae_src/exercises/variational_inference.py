"""Graders of the chapter "Variational inference": each assertion's message is a hint."""

import math
from collections.abc import Callable

import torch
from torch.distributions import Normal


def grade_vi_coins(answer: Callable) -> None:
    """Compare with sums by hand, then with coins that always show the same side."""
    a, b = torch.tensor([0.9, 0.5]).double(), torch.tensor([0.5, 0.25]).double()
    found = torch.as_tensor(answer(a, b))
    assert found.shape == (2,), f"return one divergence per pair, shape [2], not {list(found.shape)}."
    right, turned = _coin_kl(a, b), _coin_kl(b, a)
    assert not torch.allclose(found, turned), (
        "this is KL(b‖a): the weights before the logarithms belong to the coin that is tossed, a."
    )
    assert not torch.allclose(found, right / math.log(2)), (
        "this is in bits: the book counts in nats, so take the natural logarithm."
    )
    assert not torch.allclose(found, -right), "the sign is turned: the ratio is a over b, not b over a."
    assert not torch.allclose(found, a * (a / b).log()), (
        "this is the term for heads alone: tails, with probabilities 1 − a and 1 − b, count as well."
    )
    assert torch.allclose(found, right), f"for 0.9 against 0.5 it is {right[0]:.4f} nats, not {found[0]:.4f}."
    always = answer(torch.tensor([1.0, 0.0, 1.0]).double(), torch.tensor([0.5, 0.5, 1.0]).double())
    assert always.isfinite().all(), (
        f"a coin that always shows heads is {math.log(2):.3f} nats from a fair one, but yours gives "
        f"{always[0].item()}: an outcome that cannot happen costs nothing, so 0 · log 0 must be 0."
    )
    assert torch.allclose(always, torch.tensor([math.log(2), math.log(2), 0.0]).double()), (
        f"(1, 1/2), (0, 1/2), (1, 1) should give log 2, log 2 and 0, not "
        f"{[round(v, 3) for v in always.tolist()]}."
    )
    never = answer(torch.tensor([0.5]).double(), torch.tensor([0.0]).double())
    assert never.item() == math.inf, (
        f"what can happen under a but not under b costs inf, not {never.item():.3g}: do not clamp b."
    )


def grade_vi_moments(answer: Callable) -> None:
    """Give it a lopsided target on points that are not evenly spaced."""
    z = torch.tensor([-1.0, 0.0, 2.0, 5.0]).double()
    weights = torch.tensor([0.1, 0.5, 0.3, 0.1]).double()
    mean, sd = (float(value) for value in answer(z, weights))
    right = 1.0, math.sqrt(0.1 * 4 + 0.5 * 1 + 0.3 * 1 + 0.1 * 16)
    assert abs(mean - 1.5) > 1e-6, "this mean counts every point alike: weigh each by its probability."
    assert abs(mean) > 1e-6, (
        "this is the most probable point. Forward KL asks for the mean, wherever the peak is."
    )
    assert abs(mean - right[0]) < 1e-6, f"the mean under the weights is {right[0]:.3f}, not {mean:.3f}."
    assert abs(sd - right[1] ** 2) > 1e-6, "this is the variance: return its root, the standard deviation."
    assert abs(sd - z.std().item()) > 1e-6, "this spread counts every point alike: weigh the squares, too."
    assert abs(sd - math.sqrt(right[1] ** 2 * 4 / 3)) > 1e-6, (
        "no n − 1 here: the weights sum to 1 and are the whole distribution, not a sample from it."
    )
    assert abs(sd - right[1]) < 1e-6, (
        f"the standard deviation is {right[1]:.3f}, not {sd:.3f}: the root of the weighted mean of squares "
        "around the mean."
    )


def grade_vi_mean_field(answer: Callable) -> None:
    """Compare on two and three coordinates with unequal variances."""
    two = torch.tensor([[4.0, 1.8], [1.8, 1.0]]).double()
    three = torch.tensor([[2.0, 0.8, 0.0], [0.8, 1.0, 0.3], [0.0, 0.3, 0.5]]).double()
    for covariance in (two, three):
        found = torch.as_tensor(answer(covariance))
        precision = covariance.inverse().diag()
        right = (1 / (precision * covariance.diag())).sqrt()
        assert found.shape == right.shape, (
            f"return one ratio per coordinate, shape {list(right.shape)}, not {list(found.shape)}."
        )
        assert not torch.allclose(found, right**2), "this is a ratio of variances: take the root."
        assert not torch.allclose(found, 1 / right), (
            "upside down: mean field's is the smaller one, so the ratio is at most 1."
        )
        assert not torch.allclose(found, torch.ones_like(right)), (
            "this says that mean field is right. It reports 1/Λ_ii, with Λ the inverse of the whole matrix."
        )
        assert not torch.allclose(found, precision**-0.5), (
            "this is mean field's standard deviation itself: divide it by the true one, the root of Σ_ii."
        )
        assert torch.allclose(found, right), (
            f"for variances {covariance.diag().tolist()} it is {[round(v, 3) for v in right.tolist()]}, not "
            f"{[round(v, 3) for v in found.tolist()]}: invert the matrix, then take the diagonal."
        )


def grade_vi_cavi(answer: Callable) -> None:
    """Compare with the update by hand, one forgotten term at a time."""
    x = torch.tensor([1.0, 3.0, 5.0]).double()
    shape, rate = (float(value) for value in answer(x, 2.0, 0.5, 1.5, 0.7))
    assert abs(shape - 3.5) > 1e-6, (
        "the shape has an extra ½. It came from the Normal-Gamma prior, where μ's density contains τ; here "
        "it does not."
    )
    assert abs(shape - 4.5) > 1e-6, "each observation brings τ to the power ½, not 1: half of n."
    assert abs(shape - 3.0) < 1e-6, f"a = 1.5 and three observations make a shape of 3, not {shape:.3g}."
    squares = 1.0 + 1.0 + 9.0
    assert abs(rate - (0.7 + squares / 2)) > 1e-6, (
        "this puts q(μ)'s mean in the place of μ. The expectation of (x − μ)² is larger: add the variance."
    )
    assert abs(rate - (0.7 + (squares + 0.5) / 2)) > 1e-6, (
        "the variance of q(μ) was added once: every observation has its own square, so it comes n times."
    )
    assert abs(rate - (0.7 + squares + 1.5)) > 1e-6, "the Gaussian exponent has a ½ before the squares."
    assert abs(rate - (squares + 1.5) / 2) > 1e-6, "the prior's rate b is missing."
    assert abs(rate - (0.7 + (squares + 1.5) / 2)) < 1e-6, (
        f"b plus half the expected squares is {0.7 + (squares + 1.5) / 2:.3f}, not {rate:.3f}."
    )


def grade_vi_metropolis(answer: Callable) -> None:
    """Look at repeats, then at the moments of a long walk, then at a density of e to the minus 2,000."""
    start = torch.tensor(0.0).double()

    def log_p(z: torch.Tensor) -> torch.Tensor:
        return Normal(1.0, 2.0).log_prob(z)

    far = answer(lambda z: log_p(z) - 2000, start, 300, 3.0)
    assert torch.as_tensor(far).ndim == 1, "return one state per step in one tensor, shape [num_steps]."
    assert far.unique().numel() > 30, (
        "with a log-density near −2,000 your chain hardly moves, since exp(−2000) is 0: compare logarithms."
    )
    states = answer(log_p, start, 4000, 4.0)
    assert len(states) == 4000, (
        f"4,000 steps make 4,000 states, not {len(states)}: when a proposal is rejected, the old state is "
        "counted once more."
    )
    repeated = (states.diff() == 0).double().mean().item()
    assert repeated > 0.1, (
        "no state is ever repeated, so every proposal was accepted: compare a uniform random number with the "
        "ratio of the densities."
    )
    mean, sd = states[200:].mean().item(), states[200:].std().item()
    assert sd > 1.0, (
        f"the states spread by {sd:.2f} where the target spreads by 2: a proposal that lies lower must be "
        "accepted sometimes, with the ratio as its probability."
    )
    assert abs(mean - 1) < 0.4, (
        f"the states of N(1, 2²) average {mean:.2f}: is the comparison the right way round?"
    )
    assert abs(sd - 2) < 0.35, (
        f"the states of N(1, 2²) spread by {sd:.2f}: accept if log u < log p(new) − log p(old), with u "
        "uniform between 0 and 1."
    )


def grade_vi_fit(answer: Callable) -> None:
    """Fit a Gaussian, then a density with two bumps from either side."""
    mean, sd = answer(lambda z: Normal(3.0, 0.5).log_prob(z) + 11, 0.0, 2.0)
    assert isinstance(mean, float), "return two plain numbers: .item() takes them out of a tensor."
    assert abs(mean - 3) < 0.2, (
        f"the best Gaussian for N(3, 0.5²) has mean 3, not {mean:.2f}: climb the mean of log_joint(z) − "
        "log q(z), "
        "that is, descend its negative, through draws made by rsample."
    )
    assert sd > 0.2, (
        f"your standard deviation shrinks to {sd:.3f} where 0.5 is right: the term −log q(z), which rewards "
        "width, is missing or has no gradient."
    )
    assert abs(sd - 0.5) < 0.06, f"the standard deviation of the best Gaussian is 0.5, not {sd:.3f}."

    def bumps(z: torch.Tensor) -> torch.Tensor:
        return torch.logaddexp(Normal(-3.0, 0.5).log_prob(z), Normal(3.0, 0.8).log_prob(z))

    ends = [answer(bumps, start, 0.7) for start in (-2.0, 2.0)]
    for (mean, sd), (right, width) in zip(ends, [(-3.0, 0.5), (3.0, 0.8)], strict=True):
        assert abs(mean - right) < 0.3, (
            f"two bumps, started near the one at {right:g}: it should end there, not at {mean:.2f}. A "
            "Gaussian over both is the forward fit."
        )
        assert abs(sd - width) < 0.12, f"on the bump at {right:g} the width is {width:g}, not {sd:.2f}."


def _coin_kl(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """KL of two coins that can show both sides."""
    return a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log()
