"""Graders of the chapter "The ELBO": each assertion's message is a hint."""

import math
from collections.abc import Callable

import torch
from torch.distributions import MultivariateNormal, Normal


def grade_elbo_split(answer: Callable) -> None:
    """Compare with sums by hand, then with a q that has zeros, then with log-joints near −2,000."""
    joint = torch.tensor([0.10, 0.06, 0.04], dtype=torch.double)
    q = torch.tensor([0.5, 0.25, 0.25]).double()
    elbo, gap = (float(value) for value in answer(joint.log(), q))
    right = (q * (joint / q).log()).sum().item()
    assert abs(elbo - (q * joint.log()).sum().item()) > 1e-9, (
        "this is the energy term alone: the entropy −Σ q log q is missing from the bound."
    )
    assert abs(elbo - (q * (joint * q).log()).sum().item()) > 1e-9, (
        "the entropy has the wrong sign: log q is subtracted from the log-joint."
    )
    assert abs(elbo + right) > 1e-9, "this is minus the ELBO, a loss: a bound lies below log p(x)."
    assert abs(elbo - math.log(0.2)) > 1e-9, "this is log p(x) itself: the bound averages logarithms over q."
    assert abs(elbo - right) < 1e-9, f"for this q the ELBO is {right:.4f} nats, not {elbo:.4f}."
    prior_like = (q * q.log()).sum().item() - (q * joint.log()).sum().item()
    assert abs(gap - prior_like) > 1e-9, (
        "this is the divergence from the joint, which does not sum to 1: the gap is from the posterior. "
        "Divide by p(x), or take log p(x) minus the ELBO."
    )
    shares = joint / joint.sum()
    assert abs(gap - (shares * (shares / q).log()).sum().item()) > 1e-9, (
        "this is KL(posterior‖q): in the gap, the average is over q."
    )
    assert abs(gap - (math.log(0.2) - right)) < 1e-9, (
        f"ELBO and gap must add up to log p(x) = {math.log(0.2):.4f}, but yours make {elbo + gap:.4f}."
    )
    sure = torch.tensor([1.0, 0.0, 0.0]).double()
    elbo, gap = (float(value) for value in answer(joint.log(), sure))
    assert math.isfinite(elbo), "a q that excludes a value is allowed: 0 · log 0 must be 0, not NaN."
    assert abs(elbo - math.log(0.1)) < 1e-9, (
        f"a q with all its mass on the first value has ELBO log 0.1 = {math.log(0.1):.4f}, not {elbo:.4f}."
    )
    assert abs(gap - math.log(2)) < 1e-9, f"its gap is log 2 = {math.log(2):.4f}, not {gap:.4f}."
    elbo, gap = (float(value) for value in answer(joint.log() - 2000, q))
    assert math.isfinite(gap), (
        "with log-joints near −2,000 the gap is not finite, since exp(−2000) is 0: use logsumexp."
    )
    assert abs(elbo - (right - 2000)) < 1e-6, "a constant added to the log-joint must be added to the ELBO."
    assert abs(gap - (math.log(0.2) - right)) < 1e-6, "a constant added to the log-joint changes no gap."


def grade_elbo_rate(answer: Callable) -> None:
    """Compare with PyTorch's divergence, one forgotten term at a time."""
    mean = torch.tensor([1.0, -0.5, 0.2]).double()
    cov = torch.tensor([[0.5, 0.3, 0.0], [0.3, 0.4, 0.1], [0.0, 0.1, 0.9]]).double()
    found = torch.as_tensor(answer(mean, cov))
    assert found.shape == (), f"return one number of nats, not a tensor of shape {list(found.shape)}."
    squares, trace, logdet = mean @ mean, cov.diagonal().sum(), cov.logdet()
    right = 0.5 * (squares + trace - 3 - logdet)
    wrong = {
        "the ½ before the bracket is missing.": 2 * right,
        "this takes the logarithms of the variances: the tilt counts, so take the determinant.": 0.5
        * (squares + trace - 3 - cov.diagonal().log().sum()),
        "the determinant has the wrong sign: a narrow q is dear, so −log|Σ|.": 0.5
        * (squares + trace - 3 + logdet),
        "the −d is missing: N(0, I) itself must cost nothing.": 0.5 * (squares + trace - logdet),
        "the mean is missing: standing away from 0 costs μᵀμ/2.": 0.5 * (trace - 3 - logdet),
        "the trace is missing: a wide q costs, too.": 0.5 * (squares - 3 - logdet),
        "μ counts squared.": 0.5 * (mean.sum() + trace - 3 - logdet),
        "this is the reverse, KL(N(0, I)‖q).": torch.distributions.kl_divergence(
            MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double()), MultivariateNormal(mean, cov)
        ),
        "Σ holds variances, not widths, so its log-determinant comes once, not twice.": 0.5
        * (squares + trace - 3 - 2 * logdet),
    }
    for hint, value in wrong.items():
        assert not torch.allclose(found.double(), value), hint
    assert torch.allclose(found.double(), right), (
        f"for this q the rate is {right:.4f} nats, not {found.item():.4f}: "
        "½ (μᵀμ + trace − d − log-determinant)."
    )
    free = float(answer(torch.zeros(2).double(), torch.eye(2).double()))
    assert abs(free) < 1e-9, (
        f"N(0, I) costs nothing, but yours costs {free:.3f}: d is the length of the mean."
    )


def grade_elbo_scale(answer: Callable) -> None:
    """Ask for a plain sum, for weights, for a mean, and for another number of pixels."""
    plain = float(answer(784, "sum", 1.0))
    assert abs(plain - 1) > 1e-9, (
        "σ_x = 1 has the error's weight at ½, not at 1: the distortion is the squared error over 2σ_x²."
    )
    assert abs(plain - 0.5) > 1e-9, "this is the variance σ_x²: take its root."
    assert abs(plain - 2**0.5) > 1e-9, "upside down: the KL's weight is 2σ_x², so divide by 2."
    assert abs(plain - 0.5**0.5) < 1e-9, (
        f"a sum of squares plus the KL assumes σ_x = √½ = 0.7071, not {plain:.4g}."
    )
    weighted = float(answer(784, "sum", 8.0))
    assert abs(weighted - plain) > 1e-9, "a heavier KL means a wider σ_x: the weight is not used."
    assert abs(weighted - 1 / 4) > 1e-9, "upside down: a heavier KL means a wider σ_x, not a narrower one."
    assert abs(weighted - 8 * plain) > 1e-9, "the weight belongs to σ_x², so it goes under the root."
    assert abs(weighted - 2) < 1e-9, f"with weight 8 it is 2, since 2σ_x² = 8, and not {weighted:.4g}."
    mean = float(answer(784, "mean", 1.0))
    assert abs(mean - plain) > 1e-9, (
        "a mean over pixels divides the error by their number, and the KL by nothing."
    )
    assert abs(mean - (1 / 1568) ** 0.5) > 1e-9, (
        "upside down: a mean makes the error 784 times lighter, as a wide σ_x does."
    )
    assert abs(mean - 392**0.5) < 1e-9, f"a mean over 784 pixels assumes σ_x = √392 = 19.80, not {mean:.4g}."
    other = float(answer(50, "mean", 4.0))
    assert abs(other - 10) < 1e-9, (
        f"a mean over 50 pixels with weight 4 assumes σ_x = √(200/2) = 10, not {other:.4g}."
    )


def grade_elbo_bits(answer: Callable) -> None:
    """Try a density that knows nothing, then one that knows something."""
    blank = float(answer(0.0, 3072))
    assert abs(blank) > 1e-9, (
        "a density of 1 everywhere (ELBO 0) knows nothing about the levels, and that is 8 bits each, not 0: "
        "each level is only 1/256 wide."
    )
    assert abs(blank + 8) > 1e-9, (
        "the sign of the width is turned: the probability is the density *times* 1/256."
    )
    assert abs(blank - math.log(256)) > 1e-9, "log 256 is in nats; in bits it is 8."
    assert abs(blank - 8 / 3072) > 1e-9, "the 8 bits are per dimension already: do not divide them by D."
    assert abs(blank - 8) < 1e-9, f"an ELBO of 0 on the unit cube is 8 bits per dimension, not {blank:.4g}."
    elbo, dims = 8000.0, 3072
    found, right = float(answer(elbo, dims)), 8 - elbo / dims / math.log(2)
    assert abs(found - (8 + elbo / dims / math.log(2))) > 1e-9, (
        "a higher ELBO must give *fewer* bits: mind the sign."
    )
    assert abs(found - (8 - elbo / dims)) > 1e-9, "the ELBO is in nats: divide by log 2."
    assert abs(found - (8 - elbo / dims * math.log(2))) > 1e-9, (
        "a nat is 1.44 bits: divide by log 2, do not multiply."
    )
    assert abs(found - (8 - elbo / math.log(2))) > 1e-6, "this is per picture: divide by the dimensions."
    assert abs(found - right) < 1e-9, (
        f"8,000 nats on 3,072 dimensions make {right:.4f} bits, not {found:.4f}."
    )


def grade_elbo_surgery(answer: Callable) -> None:
    """Equal clouds, clouds far apart, and a crowd in between, by another raster."""
    same = torch.full((5,), 0.3).double()
    information, waste = (float(value) for value in answer(same, torch.full((5,), 0.5).double()))
    price = 0.5 * (0.3**2 + 0.5**2 - 1 - 2 * math.log(0.5))
    assert abs(information - price) > 1e-3 or abs(waste) > 1e-3, (
        "the two are swapped: return the information first."
    )
    assert abs(information) < 1e-3, (
        f"five equal clouds do not say which picture it was, but your information is {information:.3f}. "
        "Compare each cloud with the average of all, not with the prior."
    )
    assert abs(waste - price) < 1e-3, (
        f"then the aggregate is one cloud, whose divergence from N(0, 1) is {price:.3f}, not {waste:.3f}."
    )
    mu, sigma = torch.arange(8).double() * 10 - 35, torch.full((8,), 0.2).double()
    information, waste = (float(value) for value in answer(mu, sigma))
    assert abs(information - math.log(8) / math.log(2)) > 1e-2, "this is in bits: take natural logarithms."
    assert abs(information) < math.log(8) + 1e-2, (
        f"information cannot exceed log 8 = {math.log(8):.3f}, but yours is {information:.3f}: average over "
        "the pictures, do not add them up; and average the densities, not their logarithms."
    )
    assert abs(information - math.log(8)) < 1e-2, (
        f"eight clouds far apart tell which it was, log 8 = {math.log(8):.3f} nats, not {information:.3f}. "
        "Does your raster reach all of them, with cells narrower than a cloud?"
    )
    mu = torch.tensor([-0.5, 0.4, 1.0, 1.1, 2.2, 3.0]).double()
    sigma = torch.tensor([0.3, 0.5, 0.2, 0.6, 0.4, 0.25]).double()
    information, waste = (float(value) for value in answer(mu, sigma))
    rate = (0.5 * (mu**2 + sigma**2 - 1 - 2 * sigma.log())).mean().item()
    assert abs(information + waste - rate) < 1e-3, (
        f"information and misfit must add up to the average rate, {rate:.4f} nats, and yours make "
        f"{information + waste:.4f}. Is the misfit KL(q̄‖p), an average over the aggregate?"
    )
    z = torch.arange(-8, 8, 0.001).double()
    log_bar = Normal(mu[:, None], sigma[:, None]).log_prob(z).logsumexp(0) - math.log(6)
    right = (log_bar.exp() * (log_bar - Normal(0, 1).log_prob(z))).sum().item() * 0.001
    assert abs(waste - right) < 1e-3, f"the misfit of this crowd is {right:.4f} nats, not {waste:.4f}."
