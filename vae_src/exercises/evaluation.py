"""Graders of the chapter "Evaluating a VAE": each assertion's message is a hint."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from vae_src.exact import LinearGaussian


def grade_evaluation_groups(answer: Callable) -> None:
    """Compare with sums by hand, on weights that show which step was left out."""
    weights = torch.tensor([[1.0, 2.0], [3.0, 2.0], [5.0, 2.0], [7.0, 6.0]], dtype=torch.float64)
    found = answer(weights.log(), 2)
    shape = list(torch.as_tensor(found).shape)
    assert shape == [2], f"return one value per example, shape [2], not {shape}: draws are the first axis."
    right = torch.stack([torch.tensor([2.0, 2.0]), torch.tensor([6.0, 4.0])]).double().log().mean(0)
    first = torch.tensor([2.0, 2.0]).double().log()
    assert not torch.allclose(found, weights.log().mean(0)), (
        "this is the mean of all logs, L_1: within a group, average the weights before the logarithm."
    )
    assert not torch.allclose(found, weights.mean(0).log()), (
        "this is the bound for all four draws as one group: form groups of two, then average their logs."
    )
    assert not torch.allclose(found, right + math.log(2)), (
        "too high by log 2: a mean over a group of 2 is its sum divided by 2."
    )
    assert not torch.allclose(found, first), (
        "this is the first group alone: use all draws, and average over the groups."
    )
    assert torch.allclose(found, right), (
        f"weights 1, 3 | 5, 7 in groups of two give (log 2 + log 6) / 2 = 1.2425, not {found[0]:.4f}. Groups "
        "are neighbours along the first axis."
    )
    far = answer(weights.log() - 900, 2)
    assert torch.allclose(far, right - 900), (
        "log-weights near −900 must work, too: use logsumexp, never exp alone."
    )


def grade_evaluation_ess(answer: Callable) -> None:
    """Hold it to its two ends, to a case by hand, and to log-weights as digits have them."""
    equal = answer(torch.zeros(8, 2, dtype=torch.float64))
    shape = list(torch.as_tensor(equal).shape)
    assert shape == [2], f"return one number per example, shape [2], not {shape}: draws are the first axis."
    assert not torch.allclose(equal, torch.ones(2).double()), (
        "eight equal weights are worth 8 draws, not 1: do not divide by K."
    )
    assert torch.allclose(equal, torch.full((2,), 8.0).double()), (
        f"eight equal weights are worth 8 draws, not {equal[0]:.3g}."
    )
    log_w = torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64).log()
    found = answer(log_w).item()
    assert abs(found - 7 / 4) > 1e-6, (
        "this is the sum over the largest weight: it has the same ends, but is another measure. Divide the "
        "square of the sum by the sum of the squares."
    )
    assert abs(found - 49 / 21) < 1e-6, (
        f"weights 1, 2, 4 are worth 7² / (1 + 4 + 16) = 2.333, not {found:.4g}."
    )
    far = answer(log_w.float() - 100)
    assert far.isfinite().all(), (
        "with log-weights near −100, as digits have them, this is not a number: in single precision the "
        "squares of such weights are 0. Stay with logarithms until the end."
    )
    assert torch.allclose(far, torch.tensor(49 / 21), rtol=1e-3), (
        "adding a constant to every log-weight must change nothing."
    )


def grade_evaluation_chi_square(answer: Callable) -> None:
    """Compare with quadrature where the integral exists, and ask for infinity where it does not."""
    for loc, scale, q_loc, q_scale in [(0.0, 1.0, 0.3, 1.2), (1.0, 0.5, 0.8, 0.6), (0.0, 1.0, 0.5, 0.9)]:
        p, q = (Normal(torch.tensor(m), torch.tensor(s)) for m, s in [(loc, scale), (q_loc, q_scale)])
        found = float(answer(p, q))
        right, turned = _chi_square(p, q), _chi_square(q, p)
        assert not math.isclose(found, right + 1, rel_tol=1e-4), "too large by exactly 1: mind the −1."
        assert not math.isclose(found, turned, rel_tol=1e-4) or math.isclose(right, turned, rel_tol=1e-3), (
            "this is χ²(q‖p): draws come from q, so q stands below the fraction bar."
        )
        assert math.isclose(found, right, rel_tol=1e-4), (
            f"for p = N({loc:g}, {scale:g}²) and q = N({q_loc:g}, {q_scale:g}²) it is {right:.4f}, not "
            f"{found:.4f}. Measure q in units of p: s² is a ratio of variances, and δ is in p's standard "
            "deviations."
        )
    narrow = float(
        answer(Normal(torch.tensor(0.0), torch.tensor(1.0)), Normal(torch.tensor(0.0), torch.tensor(0.7)))
    )
    assert narrow == math.inf, (
        "q's variance is 0.49 of p's, less than half: the integral diverges, so return math.inf, not "
        f"{narrow:g}."
    )


def grade_evaluation_mixture(answer: Callable) -> None:
    """Try shares and log-probabilities of all sizes."""
    log_p, log_other = torch.tensor([-2.0, -1.0]).double(), torch.tensor([-1.0, -3.0]).double()
    found, share = answer(log_p, log_other, 0.1), 0.1
    right = (share * log_p.exp() + (1 - share) * log_other.exp()).log()
    swapped = ((1 - share) * log_p.exp() + share * log_other.exp()).log()
    assert not torch.allclose(found, share * log_p + (1 - share) * log_other), (
        "this averages logarithms: a mixture averages the probabilities."
    )
    assert not torch.allclose(found, torch.logaddexp(log_p, log_other)), (
        "the shares are missing: each part must be weighed by its probability, in logs by adding its log."
    )
    assert not torch.allclose(found, swapped), "the shares are swapped: `share` belongs to the first model."
    assert torch.allclose(found, right), f"log(0.1·e⁻² + 0.9·e⁻¹) is {right[0]:.4f}, not {found[0]:.4f}."
    far = answer(torch.tensor([-900.0]), torch.tensor([-5000.0]), 0.1)
    assert torch.allclose(far, torch.tensor([-900.0 + math.log(0.1)])), (
        "images have log-probabilities of hundreds of nats: add inside the logarithm with logaddexp."
    )


class _Narrow(LinearGaussian):
    """An encoder that is too sure of itself and a little off."""

    def encode(self, x: Tensor) -> MultivariateNormal:
        q = self.posterior(x)
        return MultivariateNormal(q.mean + 3 * q.stddev, scale_tril=0.3 * q.scale_tril)


def grade_evaluation_defensive(answer: Callable) -> None:
    """Hold many short estimates to the exact evidence of a model whose encoder is too narrow."""
    model = _Narrow(torch.tensor([[1.0], [0.5]]).double(), torch.zeros(2).double(), 0.5)
    x = model.marginal().sample((3,))
    shape = list(answer(model, x, 2, 0.5).shape)
    assert shape == [3], f"return one estimate per example, shape [3], not {shape}."
    n = 4000
    ratio = (answer(model, x[:1].expand(n, 2), 20, 0.5) - model.log_marginal(x[:1])).exp()
    error = 4 * (ratio.std() / math.sqrt(n)).item() + 0.01
    assert abs(ratio.mean().item() - 1) <= error, (
        f"your estimates of p(x) average {ratio.mean():.2f} times the true value. About a share of each "
        "example's draws must come from the prior, and every weight is p(x, z) over the density of the whole "
        "mixture, (1 − share) q + share p(z), whichever part its draw came from."
    )


def _chi_square(p: Normal, q: Normal) -> float:
    """Integrate p²/q − 1 on a fine grid, in double precision."""
    z = torch.linspace(-40, 40, 400_001, dtype=torch.float64)
    p, q = (Normal(d.loc.double(), d.scale.double()) for d in (p, q))
    return (torch.trapezoid((2 * p.log_prob(z) - q.log_prob(z)).exp(), z) - 1).item()
