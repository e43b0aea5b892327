"""Settings of the whole suite, and what several of its modules need."""

import importlib.machinery
import importlib.util
import os
from collections.abc import Callable
from types import ModuleType

import pytest

# One thread: results repeat to the bit, and two test processes do not fight for the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture
def without_type_checks() -> Callable[[ModuleType], ModuleType]:
    """Load a module a second time as its users have it: the suite's shape checks would answer first."""

    def load(module: ModuleType) -> ModuleType:
        assert module.__file__
        loader = importlib.machinery.SourceFileLoader("as_users_have_it", module.__file__)
        spec = importlib.util.spec_from_loader(loader.name, loader)
        assert spec
        plain = importlib.util.module_from_spec(spec)
        loader.exec_module(plain)
        return plain

    return load
