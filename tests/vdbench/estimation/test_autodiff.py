"""Gradients of sums, alone and vectorised; and what of a tensor may be looked at."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import vmap

from estimators.local import root as guarded
from vdbench.estimation.autodiff import (
    differentiate,
    differentiate_sum,
    seen_positive,
    vectorising,
)

W = torch.arange(1.0, 7.0, dtype=torch.float64).reshape(2, 3)
X = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)


def values(at: dict[str, Tensor]) -> Tensor:
    return (X @ at["w"].T).tanh().sum(1)


def test_a_sum_has_the_gradient_of_the_sum() -> None:
    """Also of a tensor that it does not depend on; the reported value is the sum."""
    at = {"w": W, "unused": torch.ones(2, dtype=torch.float64)}

    def objective(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        total = 2.5 * values(free).sum()
        return total, total

    value, found = differentiate_sum(values, at, 2.5)
    want, wanted = differentiate(objective, at)
    assert torch.equal(value, want)
    assert not value.requires_grad
    for name, slope in wanted.items():
        torch.testing.assert_close(found[name], slope, rtol=1e-14, atol=0)
    nothing = differentiate_sum(lambda _: X.sum(1), at, 2.5)
    assert not any(slope.any() for slope in nothing[1].values())


def test_the_same_inside_a_vectorised_call() -> None:
    several = torch.stack([W, -W, 2 * W])
    with vectorising():
        value, slopes = vmap(lambda w: differentiate_sum(values, {"w": w}, 2.5))(several)
    for k, w in enumerate(several):
        one, slope = differentiate_sum(values, {"w": w}, 2.5)
        torch.testing.assert_close(value[k], one)
        torch.testing.assert_close(slopes["w"][k], slope["w"])


@pytest.mark.parametrize("rows", ["all", "some", "none"])
def test_the_root_is_the_same_whether_zeros_are_looked_for_or_not(rows: str) -> None:
    """Value and slope, to the last digit, alone and in a vmap that nobody said of; finite at 0."""
    variance = X.square() + 0.1
    if rows != "all":
        variance[0 if rows == "some" else slice(None)] = 0
    assert seen_positive(variance) == (rows == "all")
    leaf = variance.clone().requires_grad_()
    root = guarded(leaf)
    (slope,) = torch.autograd.grad(root.sum(), leaf)
    # in a vmap numbers cannot be looked at
    assert torch.equal(vmap(guarded)(variance), root.detach())
    _, other = vmap(torch.func.grad_and_value(lambda v: guarded(v).sum()))(variance)[::-1]
    assert torch.equal(other, slope)
    assert torch.isfinite(slope).all()
    assert torch.equal(root.detach(), variance.sqrt())


def test_no_number_is_looked_at_where_one_cannot_be() -> None:
    assert seen_positive(torch.ones(3))
    assert not seen_positive(torch.tensor([1.0, float("nan")]))
    with vectorising():
        assert not seen_positive(torch.ones(3))
    with torch._subclasses.FakeTensorMode():
        assert not seen_positive(torch.ones(3))
