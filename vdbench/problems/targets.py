"""What targets must be for a likelihood: each check raises one sentence with the first bad value and its row.

``shape`` is everywhere the shape of the network's outputs, (M, …), of any number M of examples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vdbench.errors import InputError


def examples(shape: Sequence[int]) -> str:
    """A shape with its first dimension called M."""
    return f"({', '.join(['M', *map(str, shape[1:])])}{'' if len(shape) > 1 else ','})"


def bad(targets: Tensor, wrong: Tensor) -> tuple[str, str]:
    """The first value that is wrong, and where it stands: ``row 3`` or ``row 3, place (0, 1)``."""
    row, *place = wrong.nonzero()[0].tolist()
    value = targets[(row, *place)]
    said = f"{float(value):g}" if value.is_floating_point() else f"{int(value)}"
    at = f"row {row}" + (f", place {tuple(place)}" if place else "")
    return said.replace("-", "−"), at


def finite(targets: Tensor) -> None:
    """Refuse NaN and infinity.

    Raises:
        InputError: There is one.
    """
    if not targets.is_floating_point():
        return
    wrong = ~torch.isfinite(targets)
    if bool(wrong.any()):
        value, at = bad(targets, wrong)
        raise InputError(f"targets have {value} at {at}; expected finite numbers: drop these rows.")


def same_shape(targets: Tensor, shape: Sequence[int], name: str) -> None:
    """Refuse targets of another shape than the outputs, which would be broadcast.

    Raises:
        InputError: The shapes differ.
    """
    if tuple(targets.shape[1:]) == tuple(shape[1:]):
        return
    said = (
        f"targets have shape {examples(targets.shape)} and the network's outputs {examples(shape)}"
    )
    if targets.dim() == 1 and len(shape) == 2 and shape[1] == 1:
        fix = "y[:, None], or end the network with nn.Flatten(0)"
    elif len(shape) == 1 and targets.dim() == 2 and targets.shape[1] == 1:
        fix = "y[:, 0]"
    else:
        fix = ""
    end = f": pass {fix}" if fix else ""
    raise InputError(f"{said}; {name} needs equal shapes, and never broadcasts{end}.")


def one_each(targets: Tensor, shape: Sequence[int], name: str) -> None:
    """Refuse targets that are neither of the outputs' shape, nor (M,) where these are (M, 1).

    Raises:
        InputError: They are not.
    """
    if targets.dim() != 1 or len(shape) != 2 or shape[1] != 1:
        same_shape(targets, shape, name)


def classes(
    targets: Tensor, count: int, ignore: int | None = None, remedy: str = "remove these rows"
) -> None:
    """Refuse targets that are no class numbers from 0 to count − 1.

    Args:
        targets: Of any shape.
        count: How many classes the network has outputs for.
        ignore: A value that stands for no class; None for none.
        remedy: What to do about values below 0.

    Raises:
        InputError: They are floats, or one is out of range.
    """
    if targets.is_floating_point() or targets.dtype == torch.bool:
        raise InputError(
            f"targets are {_kind(targets)}; classification needs int64 class numbers from 0 to {count - 1}: "
            "pass y.long()."
        )
    wrong = (targets < 0) | (targets >= count)
    if ignore is not None:
        wrong &= targets != ignore
    if not bool(wrong.any()):
        return
    value, at = bad(targets, wrong)
    if bool((targets[wrong] < 0).any()):
        value, at = bad(targets, wrong & (targets < 0))
        raise InputError(
            f"targets have {value} at {at} ({int((targets[wrong] < 0).sum()):,} values below 0), which is no class "
            f"(−100 is torch's ignore_index); expected 0 to {count - 1}: {remedy} from the data."
        )
    raise InputError(
        f"targets have class {value} at {at}, and the network has outputs for {count} classes; "
        f"expected 0 to {count - 1}."
    )


def zeros_and_ones(targets: Tensor) -> None:
    """Refuse targets that are not all 0 or 1.

    Raises:
        InputError: One is not.
    """
    finite(targets)
    wrong = (targets != 0) & (targets != 1)
    if bool(wrong.any()):
        value, at = bad(targets, wrong)
        raise InputError(
            f"targets have {value} at {at}; binary classification needs 0 and 1 alone."
        )


def counts(targets: Tensor) -> None:
    """Refuse targets that are no counts 0, 1, 2, ….

    Raises:
        InputError: One is negative, or no whole number.
    """
    finite(targets)
    wrong = targets < 0
    if targets.is_floating_point():
        wrong |= targets != targets.round()
    if bool(wrong.any()):
        value, at = bad(targets, wrong)
        raise InputError(f"targets have {value} at {at}; poisson needs counts 0, 1, 2, ….")


def floats(targets: Tensor, name: str) -> None:
    """Refuse integer targets where numbers are meant.

    Raises:
        InputError: They are integers or booleans.
    """
    if not targets.is_floating_point():
        raise InputError(f"targets are {_kind(targets)}; {name} needs floats: pass y.float().")


def _kind(targets: Tensor) -> str:
    return str(targets.dtype).removeprefix("torch.")
