"""Mistakes that readers make in "Amortized inference"; each must be caught."""

import math

import torch
from torch.distributions import Independent, Normal


def break_even_rounded_down(training, searching, refining):
    saved = searching - refining
    return training // saved if saved > 0 else math.inf


def break_even_one_too_many(training, searching, refining):
    saved = searching - refining
    return training // saved + 1 if saved > 0 else math.inf


def break_even_refining_ignored(training, searching, refining):
    return math.ceil(training / searching)


def break_even_refining_added(training, searching, refining):
    return math.ceil(training / (searching + refining))


def break_even_product(training, searching, refining):
    return training * searching


def break_even_negative(training, searching, refining):
    saved = searching - refining
    return math.ceil(training / saved) if saved else 0


def break_even_only_equality(training, searching, refining):
    return math.inf if searching == refining else math.ceil(training / (searching - refining))


def _paired(gap):
    return gap.mean(), gap.std() / len(gap) ** 0.5


def split_not_paired(encoder, best, log_p):
    def error(a, b):
        return ((a.var() + b.var()) / len(a)) ** 0.5

    return (
        ((best - encoder).mean(), error(best, encoder)),
        ((log_p - best).mean(), error(log_p, best)),
    )


def split_turned(encoder, best, log_p):
    return _paired(log_p - best), _paired(best - encoder)


def split_sign(encoder, best, log_p):
    return _paired(encoder - best), _paired(best - log_p)


def split_whole(encoder, best, log_p):
    return _paired(log_p - encoder), _paired(log_p - best)


def split_spread(encoder, best, log_p):
    return ((best - encoder).mean(), (best - encoder).std()), ((log_p - best).mean(), (log_p - best).std())


def split_approximation_whole(encoder, best, log_p):
    return _paired(best - encoder), _paired(log_p - encoder)


def _m(weight, noise):
    return weight.T @ weight + noise * torch.eye(weight.shape[1]).double()


def diagonal_no_half(weight, scale):
    m = _m(weight, scale**2)
    return m.diag().log().sum() - m.logdet()


def diagonal_sign(weight, scale):
    m = _m(weight, scale**2)
    return 0.5 * (m.logdet() - m.diag().log().sum())


def diagonal_no_noise(weight, scale):
    m = _m(weight, 0)
    return 0.5 * (m.diag().log().sum() - m.logdet())


def diagonal_scale_for_variance(weight, scale):
    m = _m(weight, scale)
    return 0.5 * (m.diag().log().sum() - m.logdet())


def diagonal_inverted_diagonal(weight, scale):
    m = _m(weight, scale**2)
    return 0.5 * (1 / torch.linalg.inv(m).diag()).sum()


def importance_plain(bounds, chances, num_pictures):
    return bounds.mean()


def importance_sum_over_data(bounds, chances, num_pictures):
    return (bounds / chances).mean()


def importance_batch_summed(bounds, chances, num_pictures):
    return (bounds / (num_pictures * chances)).sum()


def importance_self_normalised(bounds, chances, num_pictures):
    weights = 1 / chances
    return (weights * bounds).sum() / weights.sum()


def importance_for_batches_of_two(bounds, chances, num_pictures):
    return (bounds / (num_pictures * chances)).sum() / 2


def importance_for_three_pictures(bounds, chances, num_pictures):
    return (bounds / (3 * chances)).mean()


def importance_multiplied(bounds, chances, num_pictures):
    return (bounds * num_pictures * chances).mean()


def importance_not_reduced(bounds, chances, num_pictures):
    return bounds / (num_pictures * chances)


def _refine(model, x, num_steps, start, objective, move=("mean", "width"), rate=0.05):
    mean = start.mean.detach().clone().requires_grad_()
    log_sd = start.stddev.detach().log().clone().requires_grad_()
    moved = [p for p, name in ((mean, "mean"), (log_sd, "width")) if name in move]
    adam = torch.optim.Adam(moved, lr=rate)
    for _ in range(num_steps):
        q = Independent(Normal(mean, log_sd.exp()), 1)
        adam.zero_grad()
        (-objective(model, x, q).sum()).backward()
        adam.step()
    return Independent(Normal(mean.detach(), log_sd.exp().detach()), 1)


def _elbo(model, x, q, draw="rsample"):
    z = getattr(q, draw)((8,))
    return (model.prior.log_prob(z) + model.decode(z).log_prob(x) - q.log_prob(z)).mean(0)


def refine_from_the_prior(model, x, num_steps):
    nowhere = torch.zeros_like(model.encode(x).mean)
    return _refine(model, x, num_steps, Independent(Normal(nowhere, nowhere + 1), 1), _elbo)


def refine_downhill(model, x, num_steps):
    return _refine(model, x, num_steps, model.encode(x), lambda m, x, q: -_elbo(m, x, q).clamp(-1e6, 1e6))


def refine_without_entropy(model, x, num_steps):
    def objective(model, x, q):
        z = q.rsample((8,))
        return (model.prior.log_prob(z) + model.decode(z).log_prob(x)).mean(0)

    return _refine(model, x, num_steps, model.encode(x), objective)


def refine_with_sample(model, x, num_steps):
    return _refine(model, x, num_steps, model.encode(x), lambda m, x, q: _elbo(m, x, q, "sample"))


def refine_mean_only(model, x, num_steps):
    return _refine(model, x, num_steps, model.encode(x), _elbo, move=("mean",))


def refine_with_backward(model, x, num_steps):
    return _refine(model, x, num_steps, model.encode(x), _elbo)


def refine_nothing(model, x, num_steps):
    return model.encode(x)


def refine_returns_parameters(model, x, num_steps):
    q = _refine(model, x, num_steps, model.encode(x), _elbo)
    return q.mean, q.stddev


def refine_through_the_encoder(model, x, num_steps):
    shift = torch.zeros(2).double().requires_grad_()
    log_sd = model.encode(x).stddev.detach().log().clone().requires_grad_()
    adam = torch.optim.Adam([shift, log_sd], lr=0.05)
    q = model.encode(x)
    for _ in range(num_steps):
        q = Independent(Normal(model.encode(x).mean + shift, log_sd.exp()), 1)
        adam.zero_grad()
        (-_elbo(model, x, q).sum()).backward()
        adam.step()
    return q


MISTAKES = {
    "ex-amortized-break-even": [
        break_even_rounded_down,
        break_even_one_too_many,
        break_even_refining_ignored,
        break_even_refining_added,
        break_even_product,
        break_even_negative,
        break_even_only_equality,
    ],
    "ex-amortized-split": [
        split_not_paired,
        split_turned,
        split_sign,
        split_whole,
        split_spread,
        split_approximation_whole,
    ],
    "ex-amortized-diagonal": [
        diagonal_no_half,
        diagonal_sign,
        diagonal_no_noise,
        diagonal_scale_for_variance,
        diagonal_inverted_diagonal,
    ],
    "ex-amortized-importance": [
        importance_plain,
        importance_sum_over_data,
        importance_batch_summed,
        importance_self_normalised,
        importance_multiplied,
        importance_not_reduced,
        importance_for_batches_of_two,
        importance_for_three_pictures,
    ],
    "ex-amortized-refine": [
        refine_from_the_prior,
        refine_downhill,
        refine_without_entropy,
        refine_with_sample,
        refine_mean_only,
        refine_with_backward,
        refine_nothing,
        refine_returns_parameters,
        refine_through_the_encoder,
    ],
}
