"""Where score functions, measure-valued derivatives and control variates are tried."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracles
from oracles import Linear
from torch import Tensor
from twins import BATCH, EXAMPLES

from vdbench.estimation.draws import gather
from vdbench.problems.gaussian import MeanLogVariance
from vdbench.problems.problem import Batch, Problem

TOLERANCE = 1e-9

DRAWS = 4000


def toy(mu: float, sigma: float, k: float) -> Linear:
    one = np.ones((1, 1))
    return Linear(one, np.array([k]), np.array([mu]), np.array([sigma]), 2)


def place(coordinates: Any = None) -> tuple[Problem, dict[str, Tensor], Batch]:
    problem, parameters = oracles.network(coordinates or MeanLogVariance(0.3), EXAMPLES)
    return problem, parameters, gather(problem, np.arange(BATCH))
