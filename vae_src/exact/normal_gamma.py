r"""Normal data with unknown mean and precision: the smallest posterior that mean field gets wrong."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Gamma, Normal, StudentT


class Marginals(NamedTuple):
    """What a Normal-Gamma distribution says of each unknown alone."""

    mu: StudentT
    tau: Gamma


@dataclass(frozen=True)
class NormalGamma:
    r"""A Normal-Gamma distribution over a mean μ and a precision τ, before the data or after them.

    .. math:: \tau \sim \operatorname{Gamma}(a, b), \qquad
              \mu \mid \tau \sim \mathcal N\big(m,\ (\kappa\tau)^{-1}\big)

    A point is ``z = (μ, log τ)``, and densities are with respect to these two, so that every real z is
    allowed. As a prior of the data :math:`x_i \sim \mathcal N(\mu, \tau^{-1})` it is conjugate: the posterior
    is of the same kind.

    Args:
        loc: m, in the unit of the data.
        count: κ, how many observations the opinion on μ is worth; positive.
        shape: a, half as many observations as the opinion on τ is worth; positive.
        rate: b, in squared units of the data; positive.

    Raises:
        ValueError: If ``loc`` is not finite, or another parameter not positive and finite.

    Reference: Bishop (2006), section 2.3.6. In the book: eq-vi-normal-gamma.
    """

    loc: float
    count: float
    shape: float
    rate: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.loc):
            raise ValueError(f"loc must be a finite number, not {self.loc}")
        for name in ("count", "shape", "rate"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive and finite, not {value}")

    def posterior(self, x: Float[Tensor, " batch"]) -> "NormalGamma":
        r"""Return the exact posterior, with n observations of mean x̄.

        .. math:: \kappa_n = \kappa + n, \quad m_n = \frac{\kappa m + n\bar x}{\kappa_n}, \quad
                  a_n = a + \frac n2, \quad b_n = b + \frac12 \sum_i (x_i - \bar x)^2
                  + \frac{\kappa n (\bar x - m)^2}{2\kappa_n}

        Args:
            x: Observations, at least one.

        Raises:
            ValueError: If there are none, or one is not finite.

        In the book: eq-vi-normal-gamma-posterior.
        """
        n, mean, scatter = _summary(x)
        count = self.count + n
        shift = self.count * n * (mean - self.loc) ** 2 / count
        return NormalGamma(
            (self.count * self.loc + n * mean) / count,
            count,
            self.shape + n / 2,
            self.rate + (scatter + shift) / 2,
        )

    def marginals(self) -> Marginals:
        """Return the distributions of μ, a Student t with 2a degrees of freedom, and of τ, a Gamma."""
        loc, count, shape, rate = torch.tensor(
            [self.loc, self.count, self.shape, self.rate], dtype=torch.float64
        )
        return Marginals(StudentT(2 * shape, loc, (rate / (shape * count)).sqrt()), Gamma(shape, rate))

    def log_prob(self, z: Float[Tensor, "*batch 2"]) -> Float[Tensor, " *batch"]:
        """Return the log-density at (μ, log τ), in nats."""
        mu, log_tau = _split(z)
        given_tau = Normal(self.loc, (-0.5 * (log_tau + math.log(self.count))).exp(), validate_args=False)
        log_gamma = self.shape * math.log(self.rate) - math.lgamma(self.shape)
        # the last log τ is the Jacobian: dτ = τ d(log τ)
        log_gamma = log_gamma + (self.shape - 1) * log_tau - self.rate * log_tau.exp() + log_tau
        return given_tau.log_prob(mu) + log_gamma

    def sample(self, num_samples: int) -> Float[Tensor, "samples 2"]:
        """Return independent draws of (μ, log τ)."""
        tau = self.marginals().tau.sample(torch.Size((num_samples,)))
        mu = self.loc + torch.randn_like(tau) / (self.count * tau).sqrt()
        return torch.stack([mu, tau.log()], -1)

    def log_likelihood(
        self, x: Float[Tensor, " batch"], z: Float[Tensor, "*batch2 2"]
    ) -> Float[Tensor, " *batch2"]:
        """Return log p(x|z) of all observations together, in nats, at each z."""
        n, mean, scatter = _summary(x)
        mu, log_tau = _split(z)
        squares = scatter + n * (mean - mu) ** 2
        return n / 2 * (log_tau - math.log(2 * math.pi)) - log_tau.exp() * squares / 2

    def log_joint(
        self, x: Float[Tensor, " batch"], z: Float[Tensor, "*batch2 2"]
    ) -> Float[Tensor, " *batch2"]:
        """Return log p(x, z) in nats, with this distribution as the prior; differentiable in z."""
        return self.log_prob(z) + self.log_likelihood(x, z)

    def log_marginal(self, x: Float[Tensor, " batch"]) -> float:
        r"""Return the evidence log p(x) of all observations together, exactly, in nats.

        .. math:: \log p(x) = \log\frac{\Gamma(a_n)}{\Gamma(a)} + a \log b - a_n \log b_n
                  + \tfrac12 \log\frac{\kappa}{\kappa_n} - \tfrac n2 \log 2\pi

        In the book: eq-vi-normal-gamma-evidence.
        """
        after = self.posterior(x)
        return (
            math.lgamma(after.shape)
            - math.lgamma(self.shape)
            + self.shape * math.log(self.rate)
            - after.shape * math.log(after.rate)
            + 0.5 * math.log(self.count / after.count)
            - len(x) / 2 * math.log(2 * math.pi)
        )


def _summary(x: Tensor) -> tuple[int, float, float]:
    """How many observations, their mean, and the sum of squares about it."""
    if x.ndim != 1 or len(x) == 0 or not x.isfinite().all():
        raise ValueError(f"x needs one finite number per observation, at least one, not {x.tolist()}")
    mean = x.double().mean()
    return len(x), mean.item(), (x.double() - mean).square().sum().item()


def _split(z: Tensor) -> tuple[Tensor, Tensor]:
    """Split the last axis into μ and log τ."""
    if z.shape[-1:] != (2,):
        raise ValueError(f"z holds μ and log τ on its last axis, which must be 2 long: got {list(z.shape)}")
    return z[..., 0], z[..., 1]
