"""Mistakes that readers make in "Reparameterization"; each must be caught."""

import torch


def exponential_turned(rate, u):
    return -u.log() / rate


def exponential_multiplied(rate, u):
    return -torch.log1p(-u) * rate


def exponential_sign(rate, u):
    return torch.log1p(-u) / rate


def exponential_rounded(rate, u):
    return -torch.log(1 - u) / rate


def exponential_detached(rate, u):
    return -torch.log1p(-u) / rate.item()


def exponential_without_rate(rate, u):
    return -torch.log1p(-u) + 0 * rate


def exponential_clamped(rate, u):
    return -torch.log((1 - u).clamp(max=1 - 6e-8)) / rate


def exponential_by_torch(rate, u):
    return torch.distributions.Exponential(rate).rsample(u.shape)


def _full(loc, raw, eps, change=torch.exp, transposed=True, everywhere=False):
    d = len(loc)
    rows, columns = torch.tril_indices(d, d)
    entries = torch.where((rows == columns) | everywhere, change(raw), raw)
    factor = torch.zeros(d, d, dtype=raw.dtype).index_put((rows, columns), entries)
    return loc + eps @ (factor.T if transposed else factor)


def full_transposed(loc, raw, eps):
    return _full(loc, raw, eps, transposed=False)


def full_bare_diagonal(loc, raw, eps):
    return _full(loc, raw, eps, change=lambda v: v)


def full_all_exponential(loc, raw, eps):
    return _full(loc, raw, eps, everywhere=True)


def full_without_mean(loc, raw, eps):
    return _full(0 * loc, raw, eps)


def full_upper_triangle(loc, raw, eps):
    d = len(loc)
    rows, columns = torch.triu_indices(d, d)
    entries = torch.where(rows == columns, raw.exp(), raw)
    factor = torch.zeros(d, d, dtype=raw.dtype).index_put((rows, columns), entries)
    return loc + eps @ factor.T


def full_cut_off(loc, raw, eps):
    return _full(loc, raw.detach(), eps)


def full_first_row_only(loc, raw, eps):
    return _full(loc, raw, eps)[0]


def loo_no_baseline(f, score):
    return (f * score).mean()


def loo_own_payoff_included(f, score):
    return ((f - f.mean()) * score).mean()


def loo_summed(f, score):
    others = (f.sum() - f) / (len(f) - 1)
    return ((f - others) * score).sum()


def loo_divided_by_all(f, score):
    others = (f.sum() - f) / len(f)
    return ((f - others) * score).mean()


def loo_not_averaged(f, score):
    others = (f.sum() - f) / (len(f) - 1)
    return (f - others) * score


def loo_sign(f, score):
    others = (f.sum() - f) / (len(f) - 1)
    return ((others - f) * score).mean()


def _slopes(cdf, z, a):
    z, a = z.detach().requires_grad_(), a.detach().requires_grad_()
    return torch.autograd.grad(cdf(z, a), (z, a))


def implicit_sign(cdf, z, a):
    by_z, by_a = _slopes(cdf, z, a)
    return by_a / by_z


def implicit_upside_down(cdf, z, a):
    by_z, by_a = _slopes(cdf, z, a)
    return -by_z / by_a


def implicit_not_divided(cdf, z, a):
    return -_slopes(cdf, z, a)[1]


def implicit_by_log_density(cdf, z, a):
    by_z, by_a = _slopes(cdf, z, a)
    return -by_a / by_z.log()


def implicit_for_exponentials_only(cdf, z, a):
    return -z / a


def surrogate_sampled(f, q_z, q_s, num_samples):
    z, s = q_z.sample((num_samples,)), q_s.sample((num_samples,))
    payoff = f(z, s)
    return (payoff + payoff.detach() * q_s.log_prob(s)).mean()


def surrogate_no_score(f, q_z, q_s, num_samples):
    return f(q_z.rsample((num_samples,)), q_s.sample((num_samples,))).mean()


def surrogate_not_detached(f, q_z, q_s, num_samples):
    z, s = q_z.rsample((num_samples,)), q_s.sample((num_samples,))
    payoff = f(z, s)
    return (payoff + payoff * q_s.log_prob(s)).mean()


def surrogate_payoff_lost(f, q_z, q_s, num_samples):
    z, s = q_z.rsample((num_samples,)), q_s.sample((num_samples,))
    return (f(z, s).detach() * q_s.log_prob(s)).mean()


def surrogate_both_scores(f, q_z, q_s, num_samples):
    z, s = q_z.rsample((num_samples,)), q_s.sample((num_samples,))
    payoff = f(z, s)
    return (payoff + payoff.detach() * (q_s.log_prob(s) + q_z.log_prob(z.detach()))).mean()


def surrogate_probability_for_score(f, q_z, q_s, num_samples):
    z, s = q_z.rsample((num_samples,)), q_s.sample((num_samples,))
    payoff = f(z, s)
    return (payoff + payoff.detach() * q_s.log_prob(s).exp()).mean()


def surrogate_not_averaged(f, q_z, q_s, num_samples):
    z, s = q_z.rsample((num_samples,)), q_s.sample((num_samples,))
    payoff = f(z, s)
    return payoff + payoff.detach() * q_s.log_prob(s)


def _with_baseline(f, q_z, q_s, num_samples, baseline):
    z, s = q_z.rsample((num_samples,)), q_s.sample((num_samples,))
    payoff = f(z, s)
    weight = payoff.detach()
    return (payoff + (weight - baseline(weight)) * q_s.log_prob(s)).mean()


def surrogate_own_payoff_included(f, q_z, q_s, num_samples):
    return _with_baseline(f, q_z, q_s, num_samples, lambda w: w.mean())


def surrogate_nobody_left(f, q_z, q_s, num_samples):
    return _with_baseline(f, q_z, q_s, num_samples, lambda w: (w.sum() - w) / (num_samples - 1))


MISTAKES = {
    "ex-rep-exponential": [
        exponential_turned,
        exponential_multiplied,
        exponential_sign,
        exponential_rounded,
        exponential_detached,
        exponential_without_rate,
        exponential_clamped,
        exponential_by_torch,
    ],
    "ex-rep-full": [
        full_transposed,
        full_bare_diagonal,
        full_all_exponential,
        full_without_mean,
        full_upper_triangle,
        full_cut_off,
        full_first_row_only,
    ],
    "ex-rep-leave-one-out": [
        loo_no_baseline,
        loo_own_payoff_included,
        loo_summed,
        loo_divided_by_all,
        loo_not_averaged,
        loo_sign,
    ],
    "ex-rep-implicit": [
        implicit_sign,
        implicit_upside_down,
        implicit_not_divided,
        implicit_by_log_density,
        implicit_for_exponentials_only,
    ],
    "ex-rep-surrogate": [
        surrogate_sampled,
        surrogate_no_score,
        surrogate_not_detached,
        surrogate_payoff_lost,
        surrogate_both_scores,
        surrogate_probability_for_score,
        surrogate_not_averaged,
        surrogate_own_payoff_included,
        surrogate_nobody_left,
    ],
}
