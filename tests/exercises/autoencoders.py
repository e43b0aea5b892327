"""Mistakes that readers make in "Autoencoders"; each must be caught."""

import torch


def _directions(x, d):
    return torch.linalg.eigh(x.T @ x / len(x)).eigenvectors[:, -d:]


def pca_not_centred(train, x, d):
    basis = _directions(train, d)
    return x @ basis @ basis.T


def pca_mean_not_added_again(train, x, d):
    mean = train.mean(0)
    basis = _directions(train - mean, d)
    return (x - mean) @ basis @ basis.T


def pca_of_least_variance(train, x, d):
    mean = train.mean(0)
    vectors = torch.linalg.eigh((train - mean).T @ (train - mean)).eigenvectors
    basis = vectors[:, :d]
    return mean + (x - mean) @ basis @ basis.T


def pca_codes_only(train, x, d):
    mean = train.mean(0)
    return (x - mean) @ _directions(train - mean, d)


def pca_rows_for_columns(train, x, d):
    mean = train.mean(0)
    vectors = torch.linalg.eigh((train - mean).T @ (train - mean)).eigenvectors
    basis = vectors[-d:].T
    return mean + (x - mean) @ basis @ basis.T


def pca_of_the_pictures_themselves(train, x, d):
    mean = x.mean(0)
    basis = _directions(x - mean, d)
    return mean + (x - mean) @ basis @ basis.T


def stage_without_bias(in_channels, out_channels, height, width):
    return 9 * in_channels * out_channels, (out_channels, height // 2, width // 2)


def stage_with_one_input(in_channels, out_channels, height, width):
    return 9 * out_channels + out_channels, (out_channels, height // 2, width // 2)


def stage_without_pooling(in_channels, out_channels, height, width):
    return (9 * in_channels + 1) * out_channels, (out_channels, height, width)


def stage_without_padding(in_channels, out_channels, height, width):
    return (9 * in_channels + 1) * out_channels, (out_channels, height // 2 - 1, width // 2 - 1)


def stage_with_weights_at_every_place(in_channels, out_channels, height, width):
    weights = (9 * in_channels + 1) * out_channels * height * width
    return weights, (out_channels, height // 2, width // 2)


def stage_fully_connected(in_channels, out_channels, height, width):
    inputs, outputs = in_channels * height * width, out_channels * height * width
    return (inputs + 1) * outputs, (out_channels, height // 2, width // 2)


def stage_channels_last(in_channels, out_channels, height, width):
    return (9 * in_channels + 1) * out_channels, (height // 2, width // 2, out_channels)


def stage_weights_only(in_channels, out_channels, height, width):
    return (9 * in_channels + 1) * out_channels


def denoise_to_the_corrupted(model, x, noise):
    corrupted = x + noise
    return (corrupted - model.decode(model.encode(corrupted)).mean).square().sum((1, 2, 3))


def denoise_the_clean(model, x, noise):
    return (x - model.decode(model.encode(x)).mean).square().sum((1, 2, 3))


def denoise_mean_over_pixels(model, x, noise):
    return (x - model.decode(model.encode(x + noise)).mean).square().mean((1, 2, 3))


def denoise_mean_over_everything(model, x, noise):
    return (x - model.decode(model.encode(x + noise)).mean).square().sum((1, 2, 3)).mean()


def denoise_noise_on_the_output(model, x, noise):
    return (x - model.decode(model.encode(x)).mean - noise).square().sum((1, 2, 3))


def denoise_without_square(model, x, noise):
    return (x - model.decode(model.encode(x + noise)).mean).abs().sum((1, 2, 3))


def _steps(num_steps):
    return torch.linspace(0, 1, num_steps)[:, None]


def walk_in_pixels(model, judge, start, end, num_steps):
    t = _steps(num_steps)
    a, b = (model.decode(model.encode(x)).mean for x in (start, end))
    frames = (1 - t[..., None, None]) * a + t[..., None, None] * b
    return t[judge(frames).softmax(1).amax(1).argmin()].item()


def walk_to_the_surest(model, judge, start, end, num_steps):
    t = _steps(num_steps)
    frames = model.decode((1 - t) * model.encode(start) + t * model.encode(end)).mean
    return t[judge(frames).softmax(1).amax(1).argmax()].item()


def walk_step_number(model, judge, start, end, num_steps):
    t = _steps(num_steps)
    frames = model.decode((1 - t) * model.encode(start) + t * model.encode(end)).mean
    return judge(frames).softmax(1).amax(1).argmin().item()


def walk_smallest_probability(model, judge, start, end, num_steps):
    t = _steps(num_steps)
    frames = model.decode((1 - t) * model.encode(start) + t * model.encode(end)).mean
    return t[judge(frames).softmax(1).amin(1).argmin()].item()


def walk_without_the_end(model, judge, start, end, num_steps):
    t = torch.arange(num_steps)[:, None] / num_steps
    frames = model.decode((1 - t) * model.encode(start) + t * model.encode(end)).mean
    return t[judge(frames).softmax(1).amax(1).argmin()].item()


def walk_all_probabilities(model, judge, start, end, num_steps):
    t = _steps(num_steps)
    frames = model.decode((1 - t) * model.encode(start) + t * model.encode(end)).mean
    return judge(frames).softmax(1).amax(1)


def draw_the_codes_themselves(codes, num_samples, width):
    return codes[torch.randint(len(codes), (num_samples,))]


def draw_around_one_code(codes, num_samples, width):
    return codes[torch.randint(len(codes), (1,))] + width * torch.randn(num_samples, codes.shape[1])


def draw_with_one_noise(codes, num_samples, width):
    return codes[torch.randint(len(codes), (num_samples,))] + width * torch.randn(codes.shape[1])


def draw_with_noise_along_the_diagonal(codes, num_samples, width):
    return codes[torch.randint(len(codes), (num_samples,))] + width * torch.randn(num_samples, 1)


def draw_with_squared_width(codes, num_samples, width):
    return codes[torch.randint(len(codes), (num_samples,))] + width**2 * torch.randn(
        num_samples, codes.shape[1]
    )


def draw_with_uniform_noise(codes, num_samples, width):
    noise = 2 * torch.rand(num_samples, codes.shape[1]) - 1
    return codes[torch.randint(len(codes), (num_samples,))] + width * noise


def draw_from_a_fitted_gaussian(codes, num_samples, width):
    return codes.mean(0) + codes.std(0) * torch.randn(num_samples, codes.shape[1])


def draw_too_few(codes, num_samples, width):
    return codes + width * torch.randn_like(codes)


MISTAKES = {
    "ex-ae-pca": [
        pca_not_centred,
        pca_mean_not_added_again,
        pca_of_least_variance,
        pca_codes_only,
        pca_rows_for_columns,
        pca_of_the_pictures_themselves,
    ],
    "ex-ae-conv-stage": [
        stage_without_bias,
        stage_with_one_input,
        stage_without_pooling,
        stage_without_padding,
        stage_with_weights_at_every_place,
        stage_fully_connected,
        stage_channels_last,
        stage_weights_only,
    ],
    "ex-ae-denoise": [
        denoise_to_the_corrupted,
        denoise_the_clean,
        denoise_mean_over_pixels,
        denoise_mean_over_everything,
        denoise_noise_on_the_output,
        denoise_without_square,
    ],
    "ex-ae-walk": [
        walk_in_pixels,
        walk_to_the_surest,
        walk_step_number,
        walk_smallest_probability,
        walk_without_the_end,
        walk_all_probabilities,
    ],
    "ex-ae-draw": [
        draw_the_codes_themselves,
        draw_around_one_code,
        draw_with_one_noise,
        draw_with_noise_along_the_diagonal,
        draw_with_squared_width,
        draw_with_uniform_noise,
        draw_from_a_fitted_gaussian,
        draw_too_few,
    ],
}
