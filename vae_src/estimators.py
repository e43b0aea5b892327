r"""Estimators of a gradient, as *surrogates*: functions whose gradient is the estimate.

The gradient that is wanted is that of an expectation, :math:`\nabla_\phi \mathbb E_{q_\phi}[f(z)]`, whose
draws depend on :math:`\phi`. Call ``.backward()`` on what these functions return, or hand them to `fit`. The
*value* of each is an honest estimate of the expectation; but it is the gradient that makes a surrogate, and
none of them is a new bound.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from vae_src.models import LatentVariableModel

Payoff = Callable[[Tensor], Tensor]  # draws [samples, *batch, *event] -> [samples, *batch]


def score_function(
    f: Payoff, q: Distribution, num_samples: int = 1, baseline: float | Literal["leave-one-out"] = 0.0
) -> Float[Tensor, " *batch"]:
    r"""Surrogate of the score-function estimator (REINFORCE): make the good outcomes likelier.

    .. math:: \nabla_\phi \mathbb E_{q_\phi}[f(z)] \approx
              \frac1K \sum_k \big(f(z_k) - b_k\big) \nabla_\phi \log q_\phi(z_k), \quad z_k \sim q_\phi

    It needs no derivative of f and no derivative of the draws, so that it serves discrete z, too. Unbiased if
    :math:`q_\phi` is smooth in its parameters on a support that does not move with them. Where f has
    parameters of its own, their gradient is added. ``"leave-one-out"`` takes for :math:`b_k` the mean payoff
    of the other draws, which keeps the estimate unbiased.

    Args:
        f: The payoff of each draw, ``[samples, *batch]``.
        q: Where the draws come from; its ``log_prob`` is differentiated.
        num_samples: K, draws of each, at least 1, and 2 with ``"leave-one-out"``.
        baseline: Subtracted from the payoff in the weights, in its unit: a number, or ``"leave-one-out"``.

    Returns:
        One surrogate per example; its value is the mean payoff.

    Raises:
        ValueError: If there are too few draws, the payoff has the wrong shape, or the baseline is unknown.

    Reference: Williams (1992), doi:10.1007/BF00992696; Kool, van Hoof & Welling (2019) for leave-one-out.
    In the book: eq-score-function, eq-rep-leave-one-out.
    """
    _require_draws(num_samples, at_least=2 if baseline == "leave-one-out" else 1)
    z = q.sample(torch.Size((num_samples,)))
    log_q = q.log_prob(z)
    payoff = _checked(f(z), log_q)
    weight = payoff.detach() - _baseline(payoff.detach(), baseline)
    return (payoff + weight * (log_q - log_q.detach())).mean(0)


def pathwise(f: Payoff, q: Distribution, num_samples: int = 1) -> Float[Tensor, " *batch"]:
    r"""Surrogate of the pathwise estimator (reparameterization): move the outcomes uphill.

    .. math:: \nabla_\phi \mathbb E_{q_\phi}[f(z)] \approx
              \frac1K \sum_k \nabla_\phi f\big(g_\phi(\varepsilon_k)\big), \quad z = g_\phi(\varepsilon)

    Unbiased if f is locally Lipschitz, such as a differentiable function or one with kinks, and its slope
    integrable: a jump of f has no slope to be seen.

    Args:
        f: The payoff of each draw, ``[samples, *batch]``, differentiable in it.
        q: Where the draws come from; it needs ``rsample``.
        num_samples: K, draws of each, at least 1.

    Returns:
        One surrogate per example, the mean payoff with the draws attached to the parameters of q.

    Raises:
        ValueError: If there is no draw, q cannot move its draws, or the payoff has the wrong shape.

    Reference: Kingma & Welling (2014), arXiv:1312.6114, section 2.4.
    In the book: eq-rep-pathwise, eq-reparam.
    """
    _require_draws(num_samples)
    if not q.has_rsample:
        raise ValueError(
            f"the draws of a {type(q).__name__} do not move with its parameters (it has no rsample): "
            "take score_function, or a relaxation such as RelaxedOneHotCategorical"
        )
    z = q.rsample(torch.Size((num_samples,)))
    return _checked(f(z), q.log_prob(z)).mean(0)


def stl(
    model: LatentVariableModel, x: Float[Tensor, "batch *event"], num_samples: int = 1
) -> Float[Tensor, " batch"]:
    r"""Surrogate of the ELBO's gradient without its score term ("sticking the landing").

    .. math:: \nabla_\phi \mathcal L \approx \frac1K \sum_k \frac{\partial z_k}{\partial \phi}\,
              \nabla_z \big[\log p(x, z) - \log q_\phi(z \mid x)\big]_{z = z_k}

    The term left out has mean zero; without it the variance vanishes where q is the exact posterior. The
    gradient of the decoder is as ever.

    Args:
        model: Encoder, decoder and prior.
        x: Data, one example per row.
        num_samples: K, draws per example, at least 1.

    Returns:
        One surrogate per example; its value is that of the mean log-weight, an estimate of the ELBO in nats.

    Raises:
        ValueError: If there is no example or no draw.

    Reference: Roeder, Wu & Duvenaud (2017), arXiv:1703.09194. In the book: eq-rep-stl.
    """
    _require_draws(num_samples)
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"x needs at least one example, one per row, got shape {list(x.shape)}")
    q_z = model.encode(x)
    z = q_z.rsample(torch.Size((num_samples,)))
    log_joint = model.prior.log_prob(z) + model.decode(z).log_prob(x)
    return (log_joint - _log_prob_by_path(q_z, z)).mean(0)


def _log_prob_by_path(q: Distribution, z: Tensor) -> Tensor:
    """Return log q(z), whose gradient reaches the parameters of q by way of the draw z alone."""
    with torch.enable_grad():  # evaluation runs without gradients, and this needs one
        leaf = z.detach().requires_grad_()
        log_q = q.log_prob(leaf)
        (slope,) = torch.autograd.grad(log_q.sum(), leaf)
    moved = (z - z.detach()) * slope  # zero, with a gradient
    return log_q.detach() + moved.reshape(*log_q.shape, -1).sum(-1)


def _baseline(payoff: Tensor, baseline: float | str) -> float | Tensor:
    """Return the number, or for each draw the mean payoff of the others."""
    if baseline == "leave-one-out":
        return (payoff.sum(0) - payoff) / (len(payoff) - 1)
    if isinstance(baseline, str):
        raise ValueError(f'baseline is a number or "leave-one-out", not "{baseline}"')
    return baseline


def _checked(payoff: Tensor, log_q: Tensor) -> Tensor:
    """Return the payoff, as floating point; raise unless there is one of each draw."""
    if payoff.shape != log_q.shape:
        raise ValueError(
            f"f must return one payoff per draw, shape {list(log_q.shape)}, got {list(payoff.shape)}: "
            "sum over the entries of z, and do not average over draws"
        )
    return payoff if payoff.is_floating_point() else payoff.to(log_q.dtype)


def _require_draws(num_samples: int, at_least: int = 1) -> None:
    """Raise unless there are draws enough."""
    if num_samples < at_least:
        raise ValueError(f"num_samples counts draws and must be at least {at_least} here, not {num_samples}")
