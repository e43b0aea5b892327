"""Graders of the chapter "Reparameterization": each assertion's message is a hint."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal

F64 = torch.float64


def grade_rep_exponential(answer: Callable) -> None:
    """Compare draws with the distribution function, then their slopes by the rate."""
    rate = torch.tensor(2.5, dtype=F64, requires_grad=True)
    u = torch.tensor([0.1, 0.5, 0.9], dtype=F64)
    z = answer(rate, u)
    right = -torch.log1p(-u) / 2.5
    assert z.requires_grad, "your draws are cut off from the rate: compute with the tensor as it is."
    assert not torch.allclose(z, -u.log() / 2.5), (
        "this is exponential, too, but F(z) is 1 − u: a larger u must give a larger z. Solve for log(1 − u)."
    )
    assert not torch.allclose(z, right * 2.5**2), (
        "a larger rate means shorter waits: divide by it, do not multiply."
    )
    assert not torch.allclose(z, -right), "draws of an exponential are positive: mind the sign."
    assert not torch.allclose(z, right * 2.5), "the rate is missing: these are draws for a rate of 1."
    assert torch.allclose(z, right), (
        f"for u = 0.5 and a rate of 2.5, z should be {right[1]:.4f}, not {z[1]:.4f}: solve F(z) = u for z."
    )
    (slope,) = torch.autograd.grad(z.sum(), rate)
    assert torch.isclose(slope, -right.sum() / 2.5), "∂z/∂λ should be −z/λ: is part of z detached?"
    tiny = answer(torch.tensor(1.0), torch.tensor([1e-12]))
    assert abs(tiny.item() / 1e-12 - 1) < 0.01, (
        f"a u of 1e−12 should give about 1e−12 at rate 1, not {tiny.item():.3g}: in single precision 1 − u "
        "rounds to 1. torch.log1p(−u) avoids the rounding."
    )


def grade_rep_full(answer: Callable) -> None:
    """Compare draws in three dimensions; then ask for gradients."""
    loc = torch.tensor([1.0, -2.0, 0.5], dtype=F64, requires_grad=True)
    raw = torch.tensor([0.3, 0.7, -0.4, -0.2, 0.9, 0.1], dtype=F64, requires_grad=True)
    eps = torch.tensor([[1.0, 0.5, -0.3], [0.2, -1.0, 0.8]], dtype=F64)
    z = answer(loc, raw, eps)
    assert z.shape == eps.shape, f"one draw per row of eps, shape {list(eps.shape)}, not {list(z.shape)}."
    plain = _triangle(raw.detach(), exponential=False)
    factor = _triangle(raw.detach(), exponential=True)
    right = loc.detach() + eps @ factor.T
    assert not torch.allclose(z, loc + eps @ factor), (
        "this multiplies each row of noise by Lᵀ: a column Lε is, for rows, eps @ L.T."
    )
    assert not torch.allclose(z, loc + eps @ plain.T), (
        "the diagonal of L must be positive whatever raw is: pass it through the exponential."
    )
    assert not torch.allclose(z, loc + eps @ (plain.exp().tril()).T), (
        "the exponential is for the diagonal alone: below it, L may be negative."
    )
    assert not torch.allclose(z, right - loc.detach()), "the mean is missing."
    assert torch.allclose(z, right), (
        "the draws differ from loc + L ε: fill the lower triangle row by row, in the order of "
        "torch.tril_indices."
    )
    grads = torch.autograd.grad(z.sum(), (loc, raw), allow_unused=True) if z.requires_grad else (None, None)
    assert all(g is not None and bool((g != 0).all()) for g in grads), (
        "the draws do not move with every entry of loc and raw: build L without .item(), .data or "
        "torch.tensor(raw)."
    )


def grade_rep_leave_one_out(answer: Callable) -> None:
    """Compare with the sample covariance on four draws, then on two."""
    f = torch.tensor([3.0, 1.0, 8.0, 2.0], dtype=F64)
    score = torch.tensor([0.5, -1.0, 2.0, 1.5], dtype=F64)
    found = torch.as_tensor(answer(f, score))
    right = torch.cov(torch.stack([f, score]))[0, 1]
    assert found.ndim == 0, f"return one number, the mean over draws, not shape {list(found.shape)}."
    assert not torch.isclose(found, (f * score).mean()), "there is no baseline in this: subtract one."
    assert not torch.isclose(found, 0.75 * right), (
        "this is too small by (K − 1)/K: the mean of all payoffs contains the one that is being judged. "
        "Leave it out."
    )
    assert not torch.isclose(found, 4 * right), "this is the sum over draws: take their mean."
    others = (f.sum() - f) / 4
    assert not torch.isclose(found, ((f - others) * score).mean()), (
        "the sum of the others has K − 1 terms, so its mean divides by K − 1."
    )
    assert torch.isclose(found, right), (
        f"for four draws it should be {right:.4f}, not {found:.4f}: payoff minus the mean of the other "
        "three, times the score, averaged."
    )
    assert torch.isclose(torch.as_tensor(answer(f[:2], score[:2])), torch.tensor(1.5, dtype=F64)), (
        "with two draws, each is judged against the other: (3 − 1)(0.5 + 1)/2 = 1.5."
    )


def grade_rep_implicit(answer: Callable) -> None:
    """Ask for the slopes of an exponential and of a Gaussian's draws."""

    def exponential(z: Tensor, a: Tensor) -> Tensor:
        return 1 - (-a * z).exp()

    z, a = torch.tensor(0.8, dtype=F64), torch.tensor(1.7, dtype=F64)
    found = torch.as_tensor(answer(exponential, z, a))
    right, density = -z / a, a * (-a * z).exp()
    assert not torch.isclose(found, -right), (
        "the sign: F must stay the same, so if it rises with a, z has to fall. A rate of an exponential that "
        "grows makes its draws shorter."
    )
    assert not torch.isclose(found, 1 / right), (
        "upside down: the derivative by the parameter is divided by the density."
    )
    assert not torch.isclose(found, right * density), (
        "this is −∂F/∂a alone: divide it by the density, which is ∂F/∂z."
    )
    assert not torch.isclose(found, right * density / density.log()), (
        "this divides by the log-density: divide by the density itself."
    )
    assert torch.isclose(found, right), (
        f"a draw of 0.8 at rate 1.7 has slope −z/a = {right:.4f}, not {found:.4f}."
    )
    mean, sd = torch.tensor(0.3, dtype=F64), torch.tensor(0.6, dtype=F64)
    by_mean = answer(lambda z, a: Normal(a, sd).cdf(z), z, mean)
    by_sd = answer(lambda z, a: Normal(mean, a).cdf(z), z, sd)
    assert torch.isclose(torch.as_tensor(by_mean), torch.tensor(1.0, dtype=F64)), (
        f"a Gaussian's draw moves with its mean one to one; yours moves {float(by_mean):.3f} to one."
    )
    assert torch.isclose(torch.as_tensor(by_sd), (z - mean) / sd), (
        f"by the standard deviation a draw's slope is ε = {float((z - mean) / sd):.3f}, not "
        f"{float(by_sd):.3f}."
    )


def grade_rep_surrogate(answer: Callable) -> None:
    """Average the gradient of many draws, by the parameters of both distributions and of the payoff."""
    phi = torch.tensor([0.4, 0.9, 0.3, 1.5], dtype=F64, requires_grad=True)  # μ, σ, logit, slope of f
    n = 200_000
    mu, sigma, logit, rise = phi

    def payoff(z: Tensor, s: Tensor) -> Tensor:
        return z**2 + s * (rise * z + 2)

    value = answer(payoff, Normal(mu, sigma), Bernoulli(logits=logit), n)
    value = torch.as_tensor(value)
    assert value.ndim == 0, f"return one number, the mean over draws, not shape {list(value.shape)}."
    found = torch.autograd.grad(value, phi)[0].detach() if value.requires_grad else torch.zeros(4, dtype=F64)
    m, sd, li, r = phi.detach()
    p = li.sigmoid()
    right = torch.stack([2 * m + p * r, 2 * sd, p * (1 - p) * (r * m + 2), p * m])
    near = (found - right).abs() < torch.tensor([0.05, 0.06, 0.05, 0.02], dtype=F64)
    assert found[0] != 0, (
        "nothing reaches μ: draw z with rsample, and keep its payoff attached in one of the terms."
    )
    assert abs(found[2]) > 1e-12, (
        "nothing reaches the switch: its draws do not move, so add a term with the payoff, held constant, "
        "times q_s.log_prob(s)."
    )
    assert near[2], (
        f"by the switch's logit the gradient should be near {right[2]:.3f}, yours is {found[2]:.3f}: the "
        "weight of log_prob(s) is the payoff of the same draw, minus at most a baseline that does not "
        "contain it."
    )
    assert near[:2].all(), (
        f"by μ and σ the gradient should be near {right[0]:.2f} and {right[1]:.2f}, yours is {found[0]:.2f} "
        f"and {found[1]:.2f}: hold the payoff constant (detach) where it is a weight, and use z's score "
        "nowhere."
    )
    assert near[3], (
        f"f's own parameter should get {right[3]:.3f}, it gets {found[3]:.3f}: the attached payoff gives it "
        "once, and the weight must not give it again (detach)."
    )
    assert bool(torch.as_tensor(answer(payoff, Normal(mu, sigma), Bernoulli(logits=logit), 1)).isfinite()), (
        "one draw gives no finite number: it has no others to be judged against. Divide by max(1, K − 1)."
    )
    pairs = [answer(payoff, Normal(mu, sigma), Bernoulli(logits=logit), 2) for _ in range(2000)]
    by_logit = torch.autograd.grad(torch.stack(pairs).mean(), phi)[0][2]
    assert (by_logit - right[2]).abs() < 0.15, (
        f"with many draws all is well, but with two the switch's logit gets {by_logit:.2f} on average, not "
        f"{right[2]:.2f}: a baseline must not contain the payoff of the draw that it judges."
    )


def _triangle(raw: Tensor, exponential: bool) -> Tensor:
    """Fill a lower triangle of three rows with six numbers, row by row."""
    factor = torch.zeros(3, 3, dtype=raw.dtype)
    rows, columns = torch.tril_indices(3, 3)
    factor[rows, columns] = raw
    return factor - torch.diag(factor.diag()) + torch.diag(factor.diag().exp()) if exponential else factor
