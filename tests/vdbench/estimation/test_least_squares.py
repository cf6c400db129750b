"""Weights of control variates: those of numpy's least squares, 0 for a part that is 0, shrunk by the ridge."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vdbench.estimation import least_squares
from vdbench.estimation.base import Gradient

Pair = tuple[least_squares.Drawn, least_squares.Drawn]


def draws(count: int, seed: int, third: bool = False) -> list[Pair]:
    """Pairs of a gradient in two parameters and two control variates; a third is 0."""
    rng = np.random.default_rng(seed)

    def named() -> dict[str, Tensor]:
        return {"a": torch.tensor(rng.normal(size=(2, 3))), "b": torch.tensor(rng.normal(size=4))}

    def one() -> least_squares.Drawn:
        controls = [named(), named()]
        g = {n: v + 2 * controls[0][n] - controls[1][n] for n, v in named().items()}
        zero = {n: torch.zeros_like(v) for n, v in g.items()}
        return Gradient(torch.zeros(()), g), [*controls, *([zero] if third else [])]

    return [(one(), one()) for _ in range(count)]


def differences(pairs: list[Pair], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Of the gradient (n,), and of the control variates (n, K), all pairs and entries below one another."""
    g = [(a[0].gradients[name] - b[0].gradients[name]).flatten() for a, b in pairs]
    c = [
        torch.stack([(x[name] - y[name]).flatten() for x, y in zip(a[1], b[1], strict=True)], 1)
        for a, b in pairs
    ]
    return torch.cat(g).numpy(), torch.cat(c).numpy()


def test_the_weights_are_those_of_least_squares() -> None:
    pairs = draws(5, 0)
    found = least_squares.weights(iter(pairs), 1e-12)
    for name in ("a", "b"):
        g, c = differences(pairs, name)
        want = np.linalg.lstsq(c, g, rcond=None)[0]
        assert np.allclose(found[name], want, atol=1e-9), (found[name], want)


def test_a_ridge_raises_the_diagonal_by_a_share_of_itself() -> None:
    pairs = draws(5, 1)
    found = least_squares.weights(pairs, 0.5)
    for name in ("a", "b"):
        g, c = differences(pairs, name)
        gram = c.T @ c
        want = np.linalg.solve(gram + 0.5 * np.diag(np.diag(gram)), c.T @ g)
        assert np.allclose(found[name], want, rtol=1e-12)


def test_a_control_variate_that_is_0_has_weight_0() -> None:
    with_it, without = (least_squares.weights(draws(5, 2, third), 1e-9) for third in (True, False))
    for name, weights in with_it.items():
        assert float(weights[2]) == 0
        assert torch.allclose(weights[:2], without[name], rtol=1e-12)


def test_a_control_variate_of_roundings_has_weight_0() -> None:
    """A difference of two equal gradients, summed in another order, is no control variate."""
    pairs = draws(5, 4)
    for pair in pairs:
        for g, controls in pair:
            controls[1] = {n: 1e-15 * c * g.gradients[n] for n, c in controls[1].items()}
    for weights in least_squares.weights(pairs, 1e-3).values():
        assert float(weights[0]) != 0
        assert float(weights[1]) == 0


def test_what_is_subtracted() -> None:
    ((drawn, _),) = draws(1, 3)
    left = least_squares.less(drawn, {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([0.0, 3.0])})
    g, (one, two) = drawn
    assert torch.equal(left.gradients["a"], g.gradients["a"] - one["a"] - 2 * two["a"])
    assert torch.equal(left.gradients["b"], g.gradients["b"] - 3 * two["b"])
