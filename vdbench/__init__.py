"""vdbench: benchmarks gradient estimators for variational dropout.

Public are the names here, the modules ``vdbench.datasets``, ``noise``, ``problems``, ``schedules`` and ``training``,
and ``vdbench.estimation`` for authors of families of estimators; everything else is private and may change in any
version. Each name is imported when it is first used, so that ``import vdbench`` and ``vdbench --help`` answer at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from vdbench import moved

if TYPE_CHECKING:
    from vdbench.certificate import check
    from vdbench.comparison import Comparison, compare
    from vdbench.errors import CellError, InputError
    from vdbench.estimation.autodiff import differentiate
    from vdbench.estimation.base import Estimator, Gradient, Wrapper
    from vdbench.estimation.options import get
    from vdbench.estimation.pathwise import Pathwise
    from vdbench.estimation.registry import register
    from vdbench.estimation.third_party_register import register_layer
    from vdbench.estimation.validity import need_posterior
    from vdbench.interactive.measure import measure
    from vdbench.interactive.monitor import Monitor
    from vdbench.noise import Key, Noise
    from vdbench.plotting import plot
    from vdbench.problems.from_module import noisy
    from vdbench.problems.layers import Layer
    from vdbench.problems.posterior import Posterior
    from vdbench.problems.problem import Batch, Parameters, Problem
    from vdbench.recommendation import Recommendation, recommend
    from vdbench.runner import Finished, run

__version__ = "0.2.0"

__all__ = [
    "Batch",
    "CellError",
    "Comparison",
    "Estimator",
    "Finished",
    "Gradient",
    "InputError",
    "Key",
    "Layer",
    "Monitor",
    "Noise",
    "Parameters",
    "Pathwise",
    "Posterior",
    "Problem",
    "Recommendation",
    "Wrapper",
    "__version__",
    "check",
    "compare",
    "differentiate",
    "get",
    "measure",
    "need_posterior",
    "noisy",
    "plot",
    "recommend",
    "register",
    "register_layer",
    "run",
]

_HOME = {
    "Batch": "vdbench.problems.problem",
    "CellError": "vdbench.errors",
    "Comparison": "vdbench.comparison",
    "Estimator": "vdbench.estimation.base",
    "Finished": "vdbench.runner.finished",
    "Gradient": "vdbench.estimation.base",
    "InputError": "vdbench.errors",
    "Key": "vdbench.noise",
    "Layer": "vdbench.problems.layers",
    "Monitor": "vdbench.interactive.monitor",
    "Noise": "vdbench.noise",
    "Parameters": "vdbench.problems.problem",
    "Pathwise": "vdbench.estimation.pathwise",
    "Posterior": "vdbench.problems.posterior",
    "Problem": "vdbench.problems.problem",
    "Recommendation": "vdbench.recommendation",
    "Wrapper": "vdbench.estimation.base",
    "check": "vdbench.certificate",
    "compare": "vdbench.comparison",
    "differentiate": "vdbench.estimation.autodiff",
    "get": "vdbench.estimation.options",
    "measure": "vdbench.interactive.measure",
    "need_posterior": "vdbench.estimation.validity",
    "noisy": "vdbench.problems.from_module",
    "plot": "vdbench.plotting",
    "recommend": "vdbench.recommendation",
    "register": "vdbench.estimation.registry",
    "register_layer": "vdbench.estimation.third_party_register",
    "run": "vdbench.runner",
}


def __getattr__(name: str) -> object:
    """Import a public name from where it lives, once (PEP 562)."""
    if name in moved.MOVED:
        return importlib.import_module(f"vdbench.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'vdbench' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported yet or not."""
    return sorted({*globals(), *__all__})


moved.install()
