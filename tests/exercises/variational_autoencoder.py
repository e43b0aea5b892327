"""Mistakes that readers make in "The variational autoencoder"; each must be caught."""

import math

import torch


def kl_averaged_over_latents(mu, sigma, prior_mu, prior_sigma):
    ratio = (sigma / prior_sigma) ** 2
    return 0.5 * (ratio + ((mu - prior_mu) / prior_sigma) ** 2 - 1 - ratio.log()).mean(1)


def kl_averaged_over_everything(mu, sigma, prior_mu, prior_sigma):
    ratio = (sigma / prior_sigma) ** 2
    return 0.5 * (ratio + ((mu - prior_mu) / prior_sigma) ** 2 - 1 - ratio.log()).mean()


def kl_without_the_half(mu, sigma, prior_mu, prior_sigma):
    ratio = (sigma / prior_sigma) ** 2
    return (ratio + ((mu - prior_mu) / prior_sigma) ** 2 - 1 - ratio.log()).sum(1)


def kl_with_the_wrong_sign(mu, sigma, prior_mu, prior_sigma):
    ratio = (sigma / prior_sigma) ** 2
    return -0.5 * (ratio + ((mu - prior_mu) / prior_sigma) ** 2 - 1 - ratio.log()).sum(1)


def kl_with_sigma_for_variance(mu, sigma, prior_mu, prior_sigma):
    ratio = sigma / prior_sigma
    return 0.5 * (ratio + (mu - prior_mu) ** 2 / prior_sigma - 1 - ratio.log()).sum(1)


def kl_reversed(mu, sigma, prior_mu, prior_sigma):
    ratio = (prior_sigma / sigma) ** 2
    return 0.5 * (ratio + ((mu - prior_mu) / sigma) ** 2 - 1 - ratio.log()).sum(1)


def kl_to_the_standard_normal(mu, sigma, prior_mu, prior_sigma):
    return 0.5 * (sigma**2 + mu**2 - 1 - 2 * sigma.log()).sum(1)


def beta_inverted(num_pixels, latent_dim, pixels, latents):
    return (latent_dim if latents == "mean" else 1) / (num_pixels if pixels == "mean" else 1)


def beta_always_one(num_pixels, latent_dim, pixels, latents):
    return 1.0


def beta_blind_to_latents(num_pixels, latent_dim, pixels, latents):
    return num_pixels if pixels == "mean" else 1.0


def beta_multiplied(num_pixels, latent_dim, pixels, latents):
    return (num_pixels if pixels == "mean" else 1) * (latent_dim if latents == "mean" else 1)


def sample_shows_probabilities(model, num_samples):
    return model.decode(model.prior.sample((num_samples,))).mean


def sample_rounds_probabilities(model, num_samples):
    return (model.decode(model.prior.sample((num_samples,))).mean > 0.5).float()


def sample_shares_one_code(model, num_samples):
    return model.decode(model.prior.sample()).sample((num_samples,))


def sample_from_the_mean_code(model, num_samples):
    return model.decode(torch.ones_like(model.prior.sample((num_samples,)))).sample()


def sample_without_num_samples(model, num_samples):
    return model.decode(model.prior.sample()).sample()


def evidence_mean_of_logs(log_w):
    return log_w.mean(0)


def evidence_without_k(log_w):
    return log_w.logsumexp(0)


def evidence_underflows(log_w):
    return log_w.exp().mean(0).log()


def evidence_over_examples(log_w):
    return log_w.logsumexp(1) - math.log(log_w.shape[1])


def evidence_of_one_draw(log_w):
    return log_w[0]


def interpolate_pixels(model, x_start, x_end, num_steps):
    start, end = (model.decode(model.encode(x).mean).mean for x in (x_start, x_end))
    t = torch.linspace(0, 1, num_steps).view(-1, 1, 1, 1)
    return (1 - t) * start + t * end


def interpolate_without_the_end(model, x_start, x_end, num_steps):
    start, end = model.encode(x_start).mean, model.encode(x_end).mean
    t = torch.linspace(0, 1, num_steps + 1)[:-1, None]
    return model.decode((1 - t) * start + t * end).mean


def interpolate_between_draws(model, x_start, x_end, num_steps):
    start, end = model.encode(x_start).sample(), model.encode(x_end).sample()
    t = torch.linspace(0, 1, num_steps)[:, None]
    return model.decode((1 - t) * start + t * end).mean


def interpolate_uneven_steps(model, x_start, x_end, num_steps):
    start, end = model.encode(x_start).mean, model.encode(x_end).mean
    t = torch.linspace(0, 1, num_steps)[:, None] ** 2
    return model.decode((1 - t) * start + t * end).mean


def interpolate_draws_pixels(model, x_start, x_end, num_steps):
    start, end = model.encode(x_start).mean, model.encode(x_end).mean
    t = torch.linspace(0, 1, num_steps)[:, None]
    return model.decode((1 - t) * start + t * end).sample()


MISTAKES = {
    "ex-vae-gaussian-kl": [
        kl_averaged_over_latents,
        kl_averaged_over_everything,
        kl_without_the_half,
        kl_with_the_wrong_sign,
        kl_with_sigma_for_variance,
        kl_reversed,
        kl_to_the_standard_normal,
    ],
    "ex-vae-hidden-beta": [beta_inverted, beta_always_one, beta_blind_to_latents, beta_multiplied],
    "ex-vae-sample": [
        sample_shows_probabilities,
        sample_rounds_probabilities,
        sample_shares_one_code,
        sample_from_the_mean_code,
        sample_without_num_samples,
    ],
    "ex-vae-log-evidence": [
        evidence_mean_of_logs,
        evidence_without_k,
        evidence_underflows,
        evidence_over_examples,
        evidence_of_one_draw,
    ],
    "ex-vae-interpolate": [
        interpolate_pixels,
        interpolate_without_the_end,
        interpolate_between_draws,
        interpolate_uneven_steps,
        interpolate_draws_pixels,
    ],
}
