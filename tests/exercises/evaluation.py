"""Mistakes that readers make in "Evaluating a VAE"; each must be caught."""

import math

import torch


def groups_mean_of_logs(log_w, size):
    return log_w.mean(0)


def groups_ignored(log_w, size):
    return log_w.logsumexp(0) - math.log(len(log_w))


def groups_sum_for_mean(log_w, size):
    return log_w.unflatten(0, (-1, size)).logsumexp(1).mean(0)


def groups_first_only(log_w, size):
    return log_w[:size].logsumexp(0) - math.log(size)


def groups_interleaved(log_w, size):
    return (log_w.unflatten(0, (size, -1)).logsumexp(0) - math.log(size)).mean(0)


def groups_without_logsumexp(log_w, size):
    return log_w.exp().unflatten(0, (-1, size)).mean(1).log().mean(0)


def groups_averaged_over_examples(log_w, size):
    return (log_w.unflatten(0, (-1, size)).logsumexp(1) - math.log(size)).mean()


def ess_divided_by_k(log_w):
    w = log_w.softmax(0)
    return 1 / (w**2).sum(0) / len(log_w)


def ess_by_largest(log_w):
    return 1 / log_w.softmax(0).amax(0)


def ess_exponentiated(log_w):
    w = log_w.exp()
    return w.sum(0) ** 2 / (w**2).sum(0)


def ess_without_square(log_w):
    w = log_w.exp()
    return w.sum(0) / (w**2).sum(0)


def ess_of_everything(log_w):
    return 1 / (log_w.flatten().softmax(0) ** 2).sum()


def chi_square_plus_one(p, q):
    s2, delta = ((q.scale / p.scale) ** 2).item(), ((q.loc - p.loc) / p.scale).item()
    if s2 <= 0.5:
        return math.inf
    return s2 / math.sqrt(2 * s2 - 1) * math.exp(delta**2 / (2 * s2 - 1))


def chi_square_turned(p, q):
    s2, delta = ((p.scale / q.scale) ** 2).item(), ((q.loc - p.loc) / q.scale).item()
    if s2 <= 0.5:
        return math.inf
    return s2 / math.sqrt(2 * s2 - 1) * math.exp(delta**2 / (2 * s2 - 1)) - 1


def chi_square_offset_in_units_of_z(p, q):
    s2, delta = ((q.scale / p.scale) ** 2).item(), (q.loc - p.loc).item()
    if s2 <= 0.5:
        return math.inf
    return s2 / math.sqrt(2 * s2 - 1) * math.exp(delta**2 / (2 * s2 - 1)) - 1


def chi_square_never_infinite(p, q):
    s2, delta = ((q.scale / p.scale) ** 2).item(), ((q.loc - p.loc) / p.scale).item()
    return s2 / math.sqrt(abs(2 * s2 - 1)) * math.exp(delta**2 / (2 * s2 - 1)) - 1


def mixture_of_logs(log_p, log_other, share):
    return share * log_p + (1 - share) * log_other


def mixture_without_shares(log_p, log_other, share):
    return torch.logaddexp(log_p, log_other)


def mixture_swapped(log_p, log_other, share):
    return torch.logaddexp(log_p + math.log(1 - share), log_other + math.log(share))


def mixture_underflowing(log_p, log_other, share):
    return (share * log_p.exp() + (1 - share) * log_other.exp()).log()


def _two_sources(model, x, num_samples, share):
    q_z = model.encode(x)
    z = q_z.sample((num_samples,))
    from_prior = torch.rand(z.shape[:-1]) < share
    other = model.prior.sample(z.shape[:-1])
    return q_z, torch.where(from_prior[..., None], other, z), from_prior


def defensive_weights_of_the_part(model, x, num_samples, share):
    q_z, z, from_prior = _two_sources(model, x, num_samples, share)
    log_prior = model.prior.log_prob(z)
    log_q = torch.where(from_prior, log_prior, q_z.log_prob(z))
    log_w = log_prior + model.decode(z).log_prob(x) - log_q
    return log_w.logsumexp(0) - math.log(num_samples)


def defensive_weights_of_q(model, x, num_samples, share):
    q_z, z, _ = _two_sources(model, x, num_samples, share)
    log_w = model.prior.log_prob(z) + model.decode(z).log_prob(x) - q_z.log_prob(z)
    return log_w.logsumexp(0) - math.log(num_samples)


def defensive_draws_of_q_alone(model, x, num_samples, share):
    q_z = model.encode(x)
    z = q_z.sample((num_samples,))
    log_prior = model.prior.log_prob(z)
    log_mix = torch.logaddexp(q_z.log_prob(z) + math.log(1 - share), log_prior + math.log(share))
    log_w = log_prior + model.decode(z).log_prob(x) - log_mix
    return log_w.logsumexp(0) - math.log(num_samples)


def defensive_mixing_log_densities(model, x, num_samples, share):
    q_z, z, _ = _two_sources(model, x, num_samples, share)
    log_prior = model.prior.log_prob(z)
    log_mix = (1 - share) * q_z.log_prob(z) + share * log_prior
    log_w = log_prior + model.decode(z).log_prob(x) - log_mix
    return log_w.logsumexp(0) - math.log(num_samples)


MISTAKES = {
    "ex-evaluation-groups": [
        groups_mean_of_logs,
        groups_ignored,
        groups_sum_for_mean,
        groups_first_only,
        groups_interleaved,
        groups_without_logsumexp,
        groups_averaged_over_examples,
    ],
    "ex-evaluation-ess": [
        ess_divided_by_k,
        ess_by_largest,
        ess_exponentiated,
        ess_without_square,
        ess_of_everything,
    ],
    "ex-evaluation-chi-square": [
        chi_square_plus_one,
        chi_square_turned,
        chi_square_offset_in_units_of_z,
        chi_square_never_infinite,
    ],
    "ex-evaluation-mixture": [
        mixture_of_logs,
        mixture_without_shares,
        mixture_swapped,
        mixture_underflowing,
    ],
    "ex-evaluation-defensive": [
        defensive_weights_of_the_part,
        defensive_weights_of_q,
        defensive_draws_of_q_alone,
        defensive_mixing_log_densities,
    ],
}
