"""What estimators return is refused with a sentence where it is not a gradient, and copied where it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vdbench.errors import CellError
from vdbench.estimation import returned
from vdbench.estimation.base import Gradient

FREE = {"a": torch.zeros(2, 3), "b": torch.zeros(3)}


def good() -> dict[str, Tensor]:
    return {name: torch.ones_like(value) for name, value in FREE.items()}


FLAT = torch.arange(9.0)
WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "integer": (lambda: {**good(), "b": torch.ones(3, dtype=torch.int64)}, "type torch.int64 for 'b'"),
    "complex": (lambda: {**good(), "b": torch.ones(3, dtype=torch.complex64)}, "type torch.complex64"),
    "double": (lambda: {**good(), "a": torch.ones(2, 3, dtype=torch.float64)}, "type torch.float64 for 'a'"),
    "boolean": (lambda: {**good(), "b": torch.ones(3, dtype=torch.bool)}, "type torch.bool"),
    "sparse": (lambda: {**good(), "a": torch.ones(2, 3).to_sparse()}, "type torch.sparse_coo"),
    "shape": (lambda: {**good(), "a": torch.ones(3, 2)}, r"shape \(3, 2\)"),
    "missing": (lambda: {"a": torch.ones(2, 3)}, "superfluous: b"),
    "superfluous": (lambda: {**good(), "c": torch.ones(1)}, "superfluous: c"),
    "list": (lambda: {**good(), "b": [0.0, 0.0, 0.0]}, "returns list"),
    "nothing": (lambda: None, "missing or superfluous"),
    "overlapping": (lambda: {"a": FLAT[:6].view(2, 3), "b": FLAT[5:8]}, "share memory"),
    "strided": (lambda: {"a": FLAT[:6].view(2, 3), "b": FLAT[0:9:3]}, "share memory"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_gradient_is_refused(name: str) -> None:
    make, words = WRONG[name]
    with pytest.raises(CellError, match=words):
        returned.check("mine", Gradient(torch.tensor(1.0), make()), FREE)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [torch.ones(2), torch.tensor(1), 1.0])
def test_a_value_is_one_floating_point_number(value: Tensor) -> None:
    with pytest.raises(CellError, match="value"):
        returned.check("mine", Gradient(value, good()), FREE)


def test_parts_of_one_flat_tensor_are_its_own(  # as an optimizer's flat buffer is split
) -> None:
    returned.check(
        "mine", Gradient(torch.tensor(1.0), {"a": FLAT[:6].view(2, 3), "b": FLAT[6:]}), FREE
    )


def test_draws_are_copied_as_they_come() -> None:
    kept = returned.Kept("mine", FREE)
    for number in range(3):
        kept.add(Gradient(torch.tensor(float(number)), {k: v + number for k, v in good().items()}))
    assert kept.stacked().gradients["b"][:, 0].tolist() == [1, 2, 3]
    assert kept.stacked().value.tolist() == [0, 1, 2]


def test_a_buffer_that_is_written_again_is_refused_and_a_constant_is_not() -> None:
    constant = good()
    kept = returned.Kept("mine", FREE)
    kept.add(Gradient(torch.tensor(1.0), constant))
    kept.add(Gradient(torch.tensor(1.0), constant))
    constant["b"].mul_(2)
    with pytest.raises(CellError, match="over that of the call before"):
        kept.add(Gradient(torch.tensor(1.0), constant))
