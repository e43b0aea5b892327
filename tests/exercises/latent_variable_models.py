"""Mistakes that readers make in "Latent variable models"; each must be caught."""

import math

import torch


def responsibilities_without_max(log_joint):
    joint = log_joint.exp()
    return joint / joint.sum(1, keepdim=True)


def responsibilities_over_points(log_joint):
    return log_joint.softmax(0)


def responsibilities_left_as_logs(log_joint):
    return log_joint - log_joint.logsumexp(1, keepdim=True)


def responsibilities_not_normalised(log_joint):
    return log_joint.exp()


def responsibilities_of_logs(log_joint):
    return log_joint / log_joint.sum(1, keepdim=True)


def m_step_hard(x, r):
    hard = torch.nn.functional.one_hot(r.argmax(1), r.shape[1]).to(x)
    return _m_step(x, hard)


def m_step_weights_not_normalised(x, r):
    return r.sum(0), *_m_step(x, r)[1:]


def m_step_means_over_n(x, r):
    weights, _, covariances = _m_step(x, r)
    return weights, r.T @ x / len(x), covariances


def m_step_common_mean(x, r):
    weights, means, _ = _m_step(x, r)
    offset = x - x.mean(0)
    return weights, means, torch.einsum("nk,ni,nj->kij", r, offset, offset) / r.sum(0)[:, None, None]


def m_step_covariances_over_n(x, r):
    weights, means, covariances = _m_step(x, r)
    return weights, means, covariances * weights[:, None, None]


def m_step_diagonal(x, r):
    weights, means, covariances = _m_step(x, r)
    return weights, means, torch.diag_embed(covariances.diagonal(dim1=1, dim2=2))


def m_step_means_transposed(x, r):
    weights, means, covariances = _m_step(x, r)
    return weights, means.T, covariances


def _m_step(x, r):
    counts = r.sum(0)
    means = r.T @ x / counts[:, None]
    offset = x[:, None] - means
    covariances = torch.einsum("nk,nki,nkj->kij", r, offset, offset) / counts[:, None, None]
    return counts / len(x), means, covariances


def ppca_least_squares(x, weight, offset, scale):
    return (x - offset) @ torch.linalg.pinv(weight).T


def ppca_without_offset(x, weight, offset, scale):
    return x @ weight @ torch.linalg.inv(weight.T @ weight + scale**2 * torch.eye(2))


def ppca_scale_for_variance(x, weight, offset, scale):
    return (x - offset) @ weight @ torch.linalg.inv(weight.T @ weight + scale * torch.eye(2))


def ppca_projection_only(x, weight, offset, scale):
    return (x - offset) @ weight


def ppca_transposed(x, weight, offset, scale):
    return ((x - offset) @ weight @ torch.linalg.inv(weight.T @ weight + scale**2 * torch.eye(2))).T


def naive_mean_of_logs(model, x, num_samples):
    z = model.prior.sample((num_samples, 1))
    return model.decode(z).log_prob(x).mean(0)


def naive_without_k(model, x, num_samples):
    z = model.prior.sample((num_samples, 1))
    return model.decode(z).log_prob(x).logsumexp(0)


def naive_underflows(model, x, num_samples):
    z = model.prior.sample((num_samples, 1))
    return model.decode(z).log_prob(x).exp().mean(0).log()


def naive_at_the_mean_code(model, x, num_samples):
    return model.decode(model.prior.mean).log_prob(x)


def naive_with_the_prior_twice(model, x, num_samples):
    z = model.prior.sample((num_samples, 1))
    log_joint = model.prior.log_prob(z) + model.decode(z).log_prob(x)
    return log_joint.logsumexp(0) - math.log(num_samples)


def naive_best_draw(model, x, num_samples):
    z = model.prior.sample((num_samples, 1))
    return model.decode(z).log_prob(x).max(0).values


def masks_leak(inputs, hidden):
    return hidden[:, None] >= inputs, inputs[:, None] >= hidden


def masks_too_strict(inputs, hidden):
    return hidden[:, None] > inputs, inputs[:, None] > hidden


def masks_swapped(inputs, hidden):
    return hidden[:, None] > inputs, inputs[:, None] >= hidden


def masks_transposed(inputs, hidden):
    return inputs[:, None] <= hidden, hidden[:, None] < inputs


def masks_open(inputs, hidden):
    return torch.ones(4, 3), torch.ones(3, 4)


def classify_without_prior(models, prior, x):
    return torch.stack([model.log_marginal(x) for model in models], 1).softmax(1)


def classify_without_logs(models, prior, x):
    joint = prior * torch.stack([model.log_marginal(x) for model in models], 1).exp()
    return joint / joint.sum(1, keepdim=True)


def classify_by_reconstruction(models, prior, x):
    fits = [model.decode(model.posterior(x).mean).log_prob(x) for model in models]
    return (prior.log() + torch.stack(fits, 1)).softmax(1)


def classify_over_examples(models, prior, x):
    return (prior.log() + torch.stack([model.log_marginal(x) for model in models], 1)).softmax(0)


def classify_adds_prior_to_logs(models, prior, x):
    return (prior + torch.stack([model.log_marginal(x) for model in models], 1)).softmax(1)


MISTAKES = {
    "ex-lvm-responsibilities": [
        responsibilities_without_max,
        responsibilities_over_points,
        responsibilities_left_as_logs,
        responsibilities_not_normalised,
        responsibilities_of_logs,
    ],
    "ex-lvm-m-step": [
        m_step_hard,
        m_step_weights_not_normalised,
        m_step_means_over_n,
        m_step_common_mean,
        m_step_covariances_over_n,
        m_step_diagonal,
        m_step_means_transposed,
    ],
    "ex-lvm-ppca-mean": [
        ppca_least_squares,
        ppca_without_offset,
        ppca_scale_for_variance,
        ppca_projection_only,
        ppca_transposed,
    ],
    "ex-lvm-naive": [
        naive_mean_of_logs,
        naive_without_k,
        naive_underflows,
        naive_at_the_mean_code,
        naive_with_the_prior_twice,
        naive_best_draw,
    ],
    "ex-lvm-masks": [masks_leak, masks_too_strict, masks_swapped, masks_transposed, masks_open],
    "ex-lvm-classify": [
        classify_without_prior,
        classify_without_logs,
        classify_by_reconstruction,
        classify_over_examples,
        classify_adds_prior_to_logs,
    ],
}
