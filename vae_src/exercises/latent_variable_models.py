"""Graders of the chapter "Latent variable models": each assertion's message is a hint."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vae_src.exact import LinearGaussian
from vae_src.exact.mixture import m_step


def grade_lvm_responsibilities(answer: Callable) -> None:
    """Compare with Bayes' rule, first near the data and then far away, where every density underflows."""
    log_joint = torch.tensor([[0.06, 0.02, 0.12], [0.3, 0.1, 0.1]]).log()
    expected = torch.tensor([[0.3, 0.1, 0.6], [0.6, 0.2, 0.2]])
    found = answer(log_joint)
    assert found.shape == (2, 3), f"return one row per point, shape [2, 3], not {list(found.shape)}."
    assert not torch.allclose(found, log_joint.softmax(0)), (
        "each of your columns sums to 1: divide by a sum over components, which are the second axis."
    )
    assert (found >= 0).all(), "some are negative: these are logarithms, exponentiate them."
    assert torch.allclose(found.sum(1), torch.ones(2)), (
        "the responsibilities of a point must sum to 1: divide the joint by the evidence."
    )
    assert torch.allclose(found, expected, atol=1e-5), (
        f"for the joint 0.06, 0.02, 0.12 expect 0.3, 0.1, 0.6, not {_row(found[0])}."
    )
    far = answer(log_joint - 1000)
    assert far.isfinite().all(), (
        "1,000 nats further down this is 0/0: exp(−1000) is 0 to a computer. Subtract each row's largest "
        "logarithm first, or use logsumexp."
    )
    assert torch.allclose(far, expected, atol=1e-3), "shifting all logarithms of a row must change nothing."


def grade_lvm_m_step(answer: Callable) -> None:
    """Compare with the library on points whose components have unequal shares."""
    x = torch.randn(50, 2).double() @ torch.tensor([[1.0, 0.6], [0.0, 0.8]]).double() + 2
    r = (torch.randn(50, 3).double() + torch.tensor([1.0, 0.0, -0.5]) + x[:, :1]).softmax(1)
    best = m_step(x, r)
    weights, means, covariances = answer(x, r)
    assert torch.allclose(weights, best.weights), (
        f"the weights are the mean responsibilities, here {_row(best.weights)}, not "
        f"{_row(torch.as_tensor(weights))}: they sum to 1."
    )
    assert means.shape == (3, 2), (
        f"the means have shape [components, features] = [3, 2], not {list(means.shape)}."
    )
    assert torch.allclose(means, best.means), (
        "the means are off: add the points up with their responsibilities as weights, and divide by the "
        "sum of those responsibilities, component by component."
    )
    assert covariances.shape == (3, 2, 2), (
        f"one 2 × 2 matrix per component, shape [3, 2, 2], not {list(covariances.shape)}."
    )
    assert not torch.allclose(covariances, torch.diag_embed(best.covariances.diagonal(dim1=1, dim2=2))), (
        "the variances are right but the covariances are 0: use outer products of the offsets, not squares."
    )
    assert torch.allclose(covariances, best.covariances), (
        "the covariances are off: take the offsets from each component's own new mean, and divide by N_k, "
        "not by N."
    )


def grade_lvm_ppca_mean(answer: Callable) -> None:
    """Compare with the exact posterior of a small model whose offset and noise both matter."""
    weight, offset, scale = torch.randn(5, 2).double(), 3 + torch.randn(5).double(), 0.7
    x = torch.randn(4, 5).double()
    found = answer(x, weight, offset, scale)
    assert found.shape == (4, 2), f"return one code per example, shape [4, 2], not {list(found.shape)}."
    expected = LinearGaussian(weight, offset, scale).posterior(x).mean
    assert not torch.allclose(found, _solved(x, weight, 0.7**2)), "where is the offset m? Subtract it from x."
    assert not torch.allclose(found, _solved(x - offset, weight, 0.0)), (
        "this is least squares, the limit of no noise: add σ² I to WᵀW before inverting."
    )
    assert not torch.allclose(found, _solved(x - offset, weight, 0.7)), (
        "σ² is the variance: square the scale."
    )
    assert torch.allclose(found, expected, atol=1e-8), (
        f"for the first example expect {_row(expected[0])}, not "
        f"{_row(found[0])}: M⁻¹ Wᵀ (x − m), with M = WᵀW + σ² I."
    )


def grade_lvm_naive(answer: Callable) -> None:
    """Compare with the exact evidence: near the data, and where every likelihood underflows."""
    model = LinearGaussian(torch.tensor([[1.0], [0.5]]), torch.zeros(2), 1.0)
    x = torch.tensor([[0.5, 0.0], [-1.0, 0.3], [2.0, 1.0]])
    exact = model.log_marginal(x)
    found = answer(model, x, 20_000)
    assert found.shape == (3,), f"return one estimate per example, shape [3], not {list(found.shape)}."
    assert not torch.allclose(found, exact + math.log(20_000), atol=0.2), "the log of a sum: where is 1/K?"
    mean_of_logs = _mean_log_likelihood(model, x)
    assert not torch.allclose(found, mean_of_logs, atol=0.1), (
        "this is the mean of the log-likelihoods: average the likelihoods, and take the logarithm last."
    )
    again = torch.stack([answer(model, x, 5) for _ in range(20)])
    assert again.std(0).min() > 1e-6, "twice the same answer: draw new codes from the prior at each call."
    assert torch.allclose(found, exact, atol=0.1), (
        f"with 20,000 draws expect about {exact[0]:.2f} for the first example, not {found[0]:.2f}: draw "
        "codes from the prior, decode them, average p(x|z) over the draws."
    )
    far = answer(model, x + 40, 1000)
    assert far.isfinite().all(), (
        "far from the data this is −∞: exp(−1000) is 0 to a computer. Use logsumexp over the draws."
    )


def grade_lvm_masks(answer: Callable) -> None:
    """Hand over degrees that no symmetry makes ambiguous."""
    inputs, hidden = torch.tensor([1, 2, 3]), torch.tensor([2, 1, 2, 1])
    first, last = answer(inputs, hidden)
    first, last = torch.as_tensor(first).bool(), torch.as_tensor(last).bool()
    assert (first.shape, last.shape) == ((4, 3), (3, 4)), (
        f"a mask has one row per unit that listens: expected [4, 3] and [3, 4], not {list(first.shape)} and "
        f"{list(last.shape)}."
    )
    paths = last.int() @ first.int()
    leaks = paths.triu().nonzero()
    assert len(leaks) == 0, (
        f"output {leaks[0, 0] + 1} can hear input {leaks[0, 1] + 1}: an output may listen only to units of a "
        "*smaller* degree, a hidden unit to inputs of its own degree or less."
    )
    assert (paths.tril(-1) > 0).sum() == 3, (
        "nothing leaks, but some output does not hear an earlier input: a hidden unit of degree k may "
        "listen to input k itself."
    )
    assert torch.equal(first, hidden[:, None] >= inputs), "the first mask lacks, or has, some connection."
    assert torch.equal(last, inputs[:, None] > hidden), "the last mask lacks, or has, some connection."


def grade_lvm_classify(answer: Callable) -> None:
    """Use three models whose evidences are known, one of them common and one of them rare."""
    weight = torch.tensor([[1.0], [0.3]]).double()
    offsets = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]]).double()
    models = [LinearGaussian(weight * (k + 1), offset, 0.5 + k / 4) for k, offset in enumerate(offsets)]
    prior = torch.tensor([0.7, 0.2, 0.1]).double()
    x = torch.tensor([[0.1, 0.1], [1.5, 0.2], [0.5, 2.0], [60.0, -90.0]]).double()
    found = answer(models, prior, x)
    log_p = torch.stack([model.log_marginal(x) for model in models], 1)
    expected = (prior.log() + log_p).softmax(1)
    assert found.shape == (4, 3), (
        f"one row per example and a column per model, [4, 3], not {list(found.shape)}."
    )
    assert found.isfinite().all(), (
        "the last example is far from all models, and you have 0/0: stay with logarithms until the end."
    )
    assert not torch.allclose(found, log_p.softmax(1), atol=1e-6), "where is the prior over classes?"
    likelihood = torch.stack([model.decode(model.posterior(x).mean).log_prob(x) for model in models], 1)
    assert not torch.allclose(found, (prior.log() + likelihood).softmax(1), atol=1e-6), (
        "you used p(x|z) at the posterior's mean, how well each model *can* explain x: integrate z out, take "
        "log_marginal."
    )
    assert torch.allclose(found, expected, atol=1e-6), (
        f"for the first example expect {_row(expected[0])}, not "
        f"{_row(found[0])}: prior times evidence, divided by their sum."
    )


def _row(values: Tensor) -> list[float]:
    """Round a few numbers for a hint."""
    return [round(value, 3) for value in values.tolist()]


def _solved(x: Tensor, weight: Tensor, added: float) -> Tensor:
    """Return (WᵀW + added · I)⁻¹ Wᵀ x for each row."""
    m = weight.T @ weight + added * torch.eye(weight.shape[1]).to(weight)
    return torch.linalg.solve(m, weight.T @ x.T).T


def _mean_log_likelihood(model: LinearGaussian, x: Tensor) -> Tensor:
    """E log p(x|z) over the prior, exactly: the log-likelihood at z = 0, less the spread that W adds."""
    at_zero = model.decode(torch.zeros(1, model.weight.shape[1])).log_prob(x)
    return at_zero - model.weight.square().sum() / (2 * model.scale**2)
