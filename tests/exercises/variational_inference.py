"""Mistakes that readers make in "Variational inference"; each must be caught."""

import math

import torch
from torch.distributions import Normal


def coins_reversed(a, b):
    return b * (b / a).log() + (1 - b) * ((1 - b) / (1 - a)).log()


def coins_in_bits(a, b):
    return a * (a / b).log2() + (1 - a) * ((1 - a) / (1 - b)).log2()


def coins_heads_only(a, b):
    return a * (a / b).log()


def coins_sign(a, b):
    return a * (b / a).log() + (1 - a) * ((1 - b) / (1 - a)).log()


def coins_zero_times_infinity(a, b):
    return a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log()


def coins_clamped(a, b):
    a, b = a.clamp(1e-6, 1 - 1e-6), b.clamp(1e-6, 1 - 1e-6)
    return a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log()


def coins_clamped_b(a, b):
    b = b.clamp(1e-12, 1)
    heads = torch.xlogy(a, a) - torch.xlogy(a, b)
    return heads + torch.xlogy(1 - a, 1 - a) - torch.xlogy(1 - a, 1 - b)


def coins_summed(a, b):
    return (a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log()).sum()


def moments_unweighted_mean(z, weights):
    return z.mean(), (weights @ (z - z.mean()) ** 2).sqrt()


def moments_of_the_peak(z, weights):
    peak = z[weights.argmax()]
    return peak, (weights @ (z - peak) ** 2).sqrt()


def moments_variance(z, weights):
    mean = weights @ z
    return mean, weights @ (z - mean) ** 2


def moments_unweighted_spread(z, weights):
    return weights @ z, z.std()


def moments_bessel(z, weights):
    mean = weights @ z
    return mean, (weights @ (z - mean) ** 2 * len(z) / (len(z) - 1)).sqrt()


def moments_around_zero(z, weights):
    return weights @ z, (weights @ z**2).sqrt()


def mean_field_variances(covariance):
    return 1 / (torch.linalg.inv(covariance).diag() * covariance.diag())


def mean_field_upside_down(covariance):
    return (torch.linalg.inv(covariance).diag() * covariance.diag()).sqrt()


def mean_field_trusting(covariance):
    return torch.ones(len(covariance)).double()


def mean_field_not_divided(covariance):
    return torch.linalg.inv(covariance).diag() ** -0.5


def mean_field_diagonal_first(covariance):
    return (1 / covariance.diag()).sqrt() / covariance.diag().sqrt()


def mean_field_one_number(covariance):
    precision = torch.linalg.inv(covariance)
    return (1 / (precision.diag() * covariance.diag())).sqrt().mean()


def cavi_conjugate_half(x, mean, variance, a, b):
    return a + (len(x) + 1) / 2, b + 0.5 * ((x - mean) ** 2 + variance).sum()


def cavi_whole_count(x, mean, variance, a, b):
    return a + len(x), b + 0.5 * ((x - mean) ** 2 + variance).sum()


def cavi_prior_forgotten_in_shape(x, mean, variance, a, b):
    return len(x) / 2, b + 0.5 * ((x - mean) ** 2 + variance).sum()


def cavi_plug_in(x, mean, variance, a, b):
    return a + len(x) / 2, b + 0.5 * ((x - mean) ** 2).sum()


def cavi_variance_once(x, mean, variance, a, b):
    return a + len(x) / 2, b + 0.5 * (((x - mean) ** 2).sum() + variance)


def cavi_no_half(x, mean, variance, a, b):
    return a + len(x) / 2, b + ((x - mean) ** 2 + variance).sum()


def cavi_rate_forgotten(x, mean, variance, a, b):
    return a + len(x) / 2, 0.5 * ((x - mean) ** 2 + variance).sum()


def cavi_around_the_sample(x, mean, variance, a, b):
    return a + len(x) / 2, b + 0.5 * ((x - x.mean()) ** 2 + variance).sum()


def walk_drops_rejected(log_p, z, num_steps, scale):
    states = []
    for _ in range(num_steps):
        proposal = z + scale * torch.randn_like(z)
        if torch.rand(()).log() < log_p(proposal) - log_p(z):
            z = proposal
            states.append(z)
    return torch.stack(states)


def walk_climbs_only(log_p, z, num_steps, scale):
    states = []
    for _ in range(num_steps):
        proposal = z + scale * torch.randn_like(z)
        if log_p(proposal) > log_p(z):
            z = proposal
        states.append(z)
    return torch.stack(states)


def walk_accepts_all(log_p, z, num_steps, scale):
    states = []
    for _ in range(num_steps):
        z = z + scale * torch.randn_like(z)
        states.append(z)
    return torch.stack(states)


def walk_with_probabilities(log_p, z, num_steps, scale):
    states = []
    for _ in range(num_steps):
        proposal = z + scale * torch.randn_like(z)
        if torch.rand(()) < log_p(proposal).exp() / log_p(z).exp():
            z = proposal
        states.append(z)
    return torch.stack(states)


def walk_without_logarithm(log_p, z, num_steps, scale):
    states = []
    for _ in range(num_steps):
        proposal = z + scale * torch.randn_like(z)
        if torch.rand(()) < log_p(proposal) - log_p(z):
            z = proposal
        states.append(z)
    return torch.stack(states)


def walk_turned(log_p, z, num_steps, scale):
    states = []
    for _ in range(num_steps):
        proposal = z + scale * torch.randn_like(z)
        if torch.rand(()).log() < log_p(z) - log_p(proposal):
            z = proposal
        states.append(z)
    return torch.stack(states)


def _fit(log_joint, mean, sd, objective):
    phi = torch.tensor([mean, math.log(sd)]).double().requires_grad_()
    adam = torch.optim.Adam([phi], lr=0.02)
    for _ in range(1000):
        loss = -objective(log_joint, Normal(phi[0], phi[1].exp()))
        adam.zero_grad()
        loss.backward()
        adam.step()
    return phi[0].item(), phi[1].exp().item()


def fit_without_entropy(log_joint, mean, sd):
    return _fit(log_joint, mean, sd, lambda f, q: f(q.rsample((50,))).mean())


def fit_with_sample(log_joint, mean, sd):
    def objective(f, q):
        z = q.sample((50,))
        return (f(z) - q.log_prob(z)).mean()

    return _fit(log_joint, mean, sd, objective)


def fit_sign_turned(log_joint, mean, sd):
    def objective(f, q):
        z = q.rsample((50,))
        return -(f(z) - q.log_prob(z)).mean().clamp(-1e6, 1e6)

    return _fit(log_joint, mean, sd, objective)


def fit_forward(log_joint, mean, sd):
    z = torch.linspace(-10, 10, 2001, dtype=torch.double)
    weights = log_joint(z).softmax(0)
    centre = weights @ z
    return centre.item(), (weights @ (z - centre) ** 2).sqrt().item()


def fit_tensors(log_joint, mean, sd):
    return torch.tensor(3.0), torch.tensor(0.5)


def fit_variance(log_joint, mean, sd):
    def objective(f, q):
        z = q.rsample((50,))
        return (f(z) - q.log_prob(z)).mean()

    centre, width = _fit(log_joint, mean, sd, objective)
    return centre, width**2


MISTAKES = {
    "ex-vi-coins": [
        coins_reversed,
        coins_in_bits,
        coins_heads_only,
        coins_sign,
        coins_zero_times_infinity,
        coins_clamped,
        coins_clamped_b,
        coins_summed,
    ],
    "ex-vi-moments": [
        moments_unweighted_mean,
        moments_of_the_peak,
        moments_variance,
        moments_unweighted_spread,
        moments_bessel,
        moments_around_zero,
    ],
    "ex-vi-mean-field": [
        mean_field_variances,
        mean_field_upside_down,
        mean_field_trusting,
        mean_field_not_divided,
        mean_field_diagonal_first,
        mean_field_one_number,
    ],
    "ex-vi-cavi": [
        cavi_conjugate_half,
        cavi_whole_count,
        cavi_prior_forgotten_in_shape,
        cavi_plug_in,
        cavi_variance_once,
        cavi_no_half,
        cavi_rate_forgotten,
        cavi_around_the_sample,
    ],
    "ex-vi-metropolis": [
        walk_drops_rejected,
        walk_climbs_only,
        walk_accepts_all,
        walk_with_probabilities,
        walk_without_logarithm,
        walk_turned,
    ],
    "ex-vi-fit": [
        fit_without_entropy,
        fit_with_sample,
        fit_sign_turned,
        fit_forward,
        fit_tensors,
        fit_variance,
    ],
}
