"""One split as tensors: its inputs by place or by name, and its targets, of equal lengths."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vdbench.datasets import frames, tensors
from vdbench.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Part:
    """One split.

    Attributes:
        inputs: Each (N, …), by place or by name.
        form: ``one`` input, several by ``places``, or by ``names``.
        targets: (N, …).
    """

    inputs: dict[Hashable, Tensor]
    form: str
    targets: Tensor


def assembled(inputs: Any, targets: Any, what: str) -> Part:
    """Tensors of inputs and targets.

    Raises:
        InputError: One is no array of finite numbers, or lengths differ.
    """
    form = "names" if isinstance(inputs, Mapping) else "one"
    if isinstance(inputs, tuple | list) and not tensors.is_array(inputs):
        inputs, form = dict(enumerate(inputs)), "places" if len(inputs) > 1 else "one"
    several = inputs if isinstance(inputs, Mapping) else {0: inputs}
    found: dict[Hashable, Tensor] = {}
    for key, value in several.items():
        called = f"{what} inputs" if form == "one" else f"{what} inputs {key!r}"
        if not tensors.is_array(value):
            raise InputError(
                f"{called} are a {type(value).__name__}; expected an array of numbers."
            )
        found[str(key) if form == "names" else key] = frames.any_array(value, called)
    if not found:
        raise InputError(f"{what} have no input; expected one or more arrays.")
    if not tensors.is_array(targets):
        raise InputError(
            f"{what} targets are a {type(targets).__name__}; expected an array of numbers."
        )
    y = tensors.as_targets(frames.any_array(targets, f"{what} targets"))
    refuse_lengths(found, y, what)
    device = next(iter(found.values())).device
    return Part({key: value.to(device) for key, value in found.items()}, form, y.to(device))


def refuse_lengths(
    inputs: Mapping[Hashable, Tensor], targets: Tensor, what: str, least: int = 1
) -> None:
    """Refuse inputs and targets of different lengths, and fewer than ``least`` examples.

    Raises:
        InputError: They are.
    """
    for key, value in {**inputs, "targets": targets}.items():
        if value.dim() == 0:
            called = "targets" if key == "targets" else "inputs"
            raise InputError(
                f"{what} {called} are one number; expected an array with one row an example."
            )
    for key, value in inputs.items():
        called = "inputs" if len(inputs) == 1 else f"inputs {key!r}"
        if len(value) != len(targets):
            several = isinstance(key, int) and len(inputs) > 1
            hint = (
                " (a list of arrays is several inputs; stack rows that are one)" if several else ""
            )
            raise InputError(
                f"{what}: the {called} have {len(value):,} rows and the targets {len(targets):,}; "
                f"expected as many{hint}."
            )
    if len(targets) < least:
        raise InputError(f"{what} data have no examples; expected at least one.")


def refuse_different(train: Part, test: Part, what: str) -> None:
    """Refuse a test split whose examples are of another kind than the training split's.

    Raises:
        InputError: They are.
    """
    mine, theirs = ({**part.inputs, "targets": part.targets} for part in (train, test))
    if (train.form, list(mine)) != (test.form, list(theirs)):
        raise InputError(
            f"{what}: training data have the inputs {list(train.inputs)} and test data {list(test.inputs)}; "
            "expected the same."
        )
    for key, one in mine.items():
        other = theirs[key]
        called = "targets" if key == "targets" else f"inputs {key!r}" if len(mine) > 2 else "inputs"
        if one.shape[1:] != other.shape[1:]:
            raise InputError(
                f"{what}: {called} of one training example have shape {tuple(one.shape[1:])} and of one test example "
                f"{tuple(other.shape[1:])}; expected the same."
            )
        if one.is_floating_point() != other.is_floating_point():
            raise InputError(
                f"{what}: {called} are {one.dtype} in training and {other.dtype} in test; expected the same."
            )
