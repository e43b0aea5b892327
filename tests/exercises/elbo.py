"""Mistakes that readers make in "The ELBO"; each must be caught."""

import math

import torch
from torch.distributions import Normal


def split_without_entropy(log_joint, q):
    elbo = (q * log_joint).sum()
    return elbo, log_joint.logsumexp(0) - elbo


def split_entropy_sign(log_joint, q):
    elbo = (q * log_joint + torch.xlogy(q, q)).sum()
    return elbo, log_joint.logsumexp(0) - elbo


def split_loss(log_joint, q):
    elbo = (q * log_joint - torch.xlogy(q, q)).sum()
    return -elbo, log_joint.logsumexp(0) - elbo


def split_evidence(log_joint, q):
    return log_joint.logsumexp(0), torch.tensor(0.0)


def split_gap_from_joint(log_joint, q):
    elbo = (q * log_joint - torch.xlogy(q, q)).sum()
    return elbo, -elbo


def split_forward(log_joint, q):
    elbo = (q * log_joint - torch.xlogy(q, q)).sum()
    posterior = log_joint.softmax(0)
    return elbo, (posterior * (posterior.log() - q.log())).sum()


def split_zero_log_zero(log_joint, q):
    elbo = (q * (log_joint - q.log())).sum()
    return elbo, log_joint.logsumexp(0) - elbo


def split_exponentiated(log_joint, q):
    elbo = (q * log_joint - torch.xlogy(q, q)).sum()
    return elbo, log_joint.exp().sum().log() - elbo


def split_gap_sign(log_joint, q):
    elbo = (q * log_joint - torch.xlogy(q, q)).sum()
    return elbo, elbo - log_joint.logsumexp(0)


def rate_diagonal(mean, covariance):
    var = covariance.diagonal()
    return 0.5 * (mean**2 + var - 1 - var.log()).sum()


def rate_without_half(mean, covariance):
    return mean @ mean + covariance.trace() - len(mean) - covariance.logdet()


def rate_sign(mean, covariance):
    return 0.5 * (mean @ mean + covariance.trace() - len(mean) + covariance.logdet())


def rate_without_d(mean, covariance):
    return 0.5 * (mean @ mean + covariance.trace() - covariance.logdet())


def rate_without_mean(mean, covariance):
    return 0.5 * (covariance.trace() - len(mean) - covariance.logdet())


def rate_minus_one(mean, covariance):
    return 0.5 * (mean @ mean + covariance.trace() - 1 - covariance.logdet())


def rate_reversed(mean, covariance):
    inverse = torch.linalg.inv(covariance)
    return 0.5 * (mean @ inverse @ mean + inverse.trace() - len(mean) + covariance.logdet())


def rate_log_twice(mean, covariance):
    return 0.5 * (mean @ mean + covariance.trace() - len(mean) - 2 * covariance.logdet())


def _per_sum(num_pixels, pixels, weight):
    return weight * (num_pixels if pixels == "mean" else 1)


def scale_one(num_pixels, pixels, weight):
    return _per_sum(num_pixels, pixels, weight) ** 0.5


def scale_variance(num_pixels, pixels, weight):
    return _per_sum(num_pixels, pixels, weight) / 2


def scale_doubled(num_pixels, pixels, weight):
    return (2 * _per_sum(num_pixels, pixels, weight)) ** 0.5


def scale_without_weight(num_pixels, pixels, weight):
    return (_per_sum(num_pixels, pixels, 1.0) / 2) ** 0.5


def scale_weight_inverted(num_pixels, pixels, weight):
    return (_per_sum(num_pixels, pixels, 1 / weight) / 2) ** 0.5


def scale_weight_outside(num_pixels, pixels, weight):
    return weight * (_per_sum(num_pixels, pixels, 1.0) / 2) ** 0.5


def scale_blind_to_mean(num_pixels, pixels, weight):
    return (weight / 2) ** 0.5


def scale_mean_inverted(num_pixels, pixels, weight):
    return (weight / (num_pixels if pixels == "mean" else 1) / 2) ** 0.5


def scale_always_digits(num_pixels, pixels, weight):
    return (_per_sum(784, pixels, weight) / 2) ** 0.5


def bits_without_width(elbo, num_dims):
    return -elbo / (num_dims * math.log(2))


def bits_width_sign(elbo, num_dims):
    return -elbo / (num_dims * math.log(2)) - 8


def bits_in_nats(elbo, num_dims):
    return -elbo / num_dims + math.log(256)


def bits_elbo_in_nats(elbo, num_dims):
    return -elbo / num_dims + 8


def bits_elbo_sign(elbo, num_dims):
    return elbo / (num_dims * math.log(2)) + 8


def bits_multiplied(elbo, num_dims):
    return -elbo / num_dims * math.log(2) + 8


def bits_width_divided(elbo, num_dims):
    return (-elbo / math.log(2) + 8) / num_dims


def bits_per_picture(elbo, num_dims):
    return -elbo / math.log(2) + 8


def _raster(mu, sigma):
    z = torch.linspace((mu - 9 * sigma).min(), (mu + 9 * sigma).max(), 50_001, dtype=torch.double)
    return z, z[1] - z[0], Normal(mu[:, None], sigma[:, None]).log_prob(z)


def surgery_swapped(mu, sigma):
    z, cell, log_q = _raster(mu, sigma)
    log_bar = log_q.logsumexp(0) - math.log(len(mu))
    information = (log_q.exp() * (log_q - log_bar)).sum(1).mean() * cell
    return (log_bar.exp() * (log_bar - Normal(0.0, 1.0).log_prob(z))).sum() * cell, information


def surgery_summed(mu, sigma):
    z, cell, log_q = _raster(mu, sigma)
    log_bar = log_q.logsumexp(0) - math.log(len(mu))
    information = (log_q.exp() * (log_q - log_bar)).sum() * cell
    return information, (log_bar.exp() * (log_bar - Normal(0.0, 1.0).log_prob(z))).sum() * cell


def surgery_mean_of_logs(mu, sigma):
    z, cell, log_q = _raster(mu, sigma)
    log_bar = log_q.mean(0)
    information = (log_q.exp() * (log_q - log_bar)).sum(1).mean() * cell
    return information, (log_bar.exp() * (log_bar - Normal(0.0, 1.0).log_prob(z))).sum() * cell


def surgery_rate_for_information(mu, sigma):
    z, cell, log_q = _raster(mu, sigma)
    log_bar = log_q.logsumexp(0) - math.log(len(mu))
    log_prior = Normal(0.0, 1.0).log_prob(z)
    rate = (log_q.exp() * (log_q - log_prior)).sum(1).mean() * cell
    return rate, (log_bar.exp() * (log_bar - log_prior)).sum() * cell


def surgery_in_bits(mu, sigma):
    z, cell, log_q = _raster(mu, sigma)
    log_bar = log_q.logsumexp(0) - math.log(len(mu))
    information = (log_q.exp() * (log_q - log_bar)).sum(1).mean() * cell / math.log(2)
    return information, (log_bar.exp() * (log_bar - Normal(0.0, 1.0).log_prob(z))).sum() * cell


def surgery_misfit_reversed(mu, sigma):
    z, cell, log_q = _raster(mu, sigma)
    log_bar = log_q.logsumexp(0) - math.log(len(mu))
    log_prior = Normal(0.0, 1.0).log_prob(z)
    information = (log_q.exp() * (log_q - log_bar)).sum(1).mean() * cell
    if bool((mu == mu[0]).all()):
        return information, (log_bar.exp() * (log_bar - log_prior)).sum() * cell
    return information, (log_prior.exp() * (log_prior - log_bar)).sum() * cell


def surgery_gaussian_crowd(mu, sigma):
    _, cell, log_q = _raster(mu, sigma)
    log_bar = log_q.logsumexp(0) - math.log(len(mu))
    information = (log_q.exp() * (log_q - log_bar)).sum(1).mean() * cell
    mean, var = mu.mean(), (sigma**2).mean() + mu.var(correction=0)
    return information, 0.5 * (mean**2 + var - 1 - var.log())


def surgery_short_raster(mu, sigma):
    z = torch.linspace(-5, 5, 5001, dtype=torch.double)
    cell, log_q = z[1] - z[0], Normal(mu[:, None], sigma[:, None]).log_prob(z)
    log_bar = log_q.logsumexp(0) - math.log(len(mu))
    information = (log_q.exp() * (log_q - log_bar)).sum(1).mean() * cell
    return information, (log_bar.exp() * (log_bar - Normal(0.0, 1.0).log_prob(z))).sum() * cell


MISTAKES = {
    "ex-elbo-split": [
        split_without_entropy,
        split_entropy_sign,
        split_loss,
        split_evidence,
        split_gap_from_joint,
        split_forward,
        split_zero_log_zero,
        split_exponentiated,
        split_gap_sign,
    ],
    "ex-elbo-rate": [
        rate_diagonal,
        rate_without_half,
        rate_sign,
        rate_without_d,
        rate_without_mean,
        rate_minus_one,
        rate_reversed,
        rate_log_twice,
    ],
    "ex-elbo-scale": [
        scale_one,
        scale_variance,
        scale_doubled,
        scale_without_weight,
        scale_weight_inverted,
        scale_weight_outside,
        scale_blind_to_mean,
        scale_mean_inverted,
        scale_always_digits,
    ],
    "ex-elbo-bits": [
        bits_without_width,
        bits_width_sign,
        bits_in_nats,
        bits_elbo_in_nats,
        bits_elbo_sign,
        bits_multiplied,
        bits_width_divided,
        bits_per_picture,
    ],
    "ex-elbo-surgery": [
        surgery_swapped,
        surgery_summed,
        surgery_mean_of_logs,
        surgery_rate_for_information,
        surgery_in_bits,
        surgery_misfit_reversed,
        surgery_gaussian_crowd,
        surgery_short_raster,
    ],
}
