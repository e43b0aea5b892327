"""Seeds that stay local: torch.distributions takes no generator, so we fence the global one in."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Seed every torch generator inside the block and put all of them back afterwards.

    Args:
        seed: Any integer; ``None`` leaves the generators as they are.
    """
    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
