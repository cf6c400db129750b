"""Linear-Gaussian problems with closed forms: many small ones for quadrature, and moderate ones for sampling."""

from __future__ import annotations

from dataclasses import replace

from oracles import Linear, random_linear

TOLERANCE = 1e-9
DRAWS = 4000

# examples M, inputs K, bias, N/M
SHAPES = [
    (m, k, bias, times)
    for m, k in [(1, 1), (2, 1), (1, 3), (3, 2), (2, 4), (4, 2), (2, 3), (5, 1)]
    for bias, times in [(False, 1), (True, 3), (False, 2)]
]
PROBLEMS = [random_linear(seed, *shape) for seed, shape in enumerate(SHAPES)]


def moderate(seed: int, m: int, k: int, times: int) -> Linear:
    """A problem whose σ is neither tiny nor large, so that 4,000 draws estimate a fourth moment."""
    of = random_linear(seed, m, k, True, times)
    return replace(of, sigma=0.3 + 0.5 * of.sigma / of.sigma.max())
