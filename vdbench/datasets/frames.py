"""Pandas frames as inputs and targets; pandas itself is never imported here."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from vdbench.datasets import tensors
from vdbench.errors import InputError, nearest

if TYPE_CHECKING:
    from torch import Tensor

TARGETS = ("label", "labels", "target")
"""Names of a column that is taken for the target where none is named."""


def target_of(columns: Sequence[Hashable], target: Hashable | None, what: str) -> Hashable:
    """The name of the target column.

    Args:
        columns: All columns.
        target: The name that was given; None for the only one of `TARGETS`.
        what: What the data are called in errors.

    Raises:
        InputError: No column, or more than one, has the name; or none is named and none can be told.
    """
    if target is not None:
        if columns.count(target) == 1:
            return target
        hint = nearest(str(target), map(str, columns))
        many = "no" if target not in columns else "more than one"
        raise InputError(f"{what} have {many} column {target!r} to be the target.{hint}")
    found = [name for name in columns if name in TARGETS]
    if len(found) == 1:
        return found[0]
    names = ", ".join(map(str, columns))
    raise InputError(
        f"{what} have the columns {names}, and which of them is the target is not said; "
        "expected target='COLUMN'."
    )


def split(frame: Any, target: Hashable | None, what: str) -> tuple[Tensor, Tensor]:
    """Inputs (N, columns) and targets (N,) of a frame with a target column.

    Raises:
        InputError: There is no target column, no other one, or one that holds no finite numbers.
    """
    columns = list(frame.columns)
    name = target_of(columns, target, what)
    place = columns.index(name)
    rest = [j for j in range(len(columns)) if j != place]
    inputs = tensor(frame.iloc[:, rest], f"{what}, inputs")
    return inputs, tensor(frame.iloc[:, place], f"{what}, targets")


def any_array(value: Any, what: str) -> Tensor:
    """A tensor of any array, those of pandas included, as `vdbench.datasets.tensors.tensor` makes it.

    Raises:
        InputError: It holds no finite numbers.
    """
    pandas = tensors.is_a(value, "pandas", "DataFrame", "Series", "Index")
    return tensor(value, what) if pandas else tensors.tensor(value, what)


def tensor(value: Any, what: str) -> Tensor:
    """A tensor of a frame (N, columns) or of a series (N,).

    Where all columns hold integers or booleans it is int64, else of torch's default type.

    Raises:
        InputError: A column holds no numbers, or one that is missing or not finite.
    """
    import numpy as np

    series = not tensors.is_frame(value)
    parts = [value] if series else [value.iloc[:, j] for j in range(value.shape[1])]
    names = [value.name] if series else list(value.columns)
    if not parts:
        raise InputError(f"{what} have no column; expected one or more beside the target.")
    for name, part in zip(names, parts, strict=True):
        _refuse_column(name, part, what)
    whole = all(part.dtype.kind in "biu" for part in parts)
    kind = np.int64 if whole else np.float64
    table = np.column_stack([part.to_numpy(dtype=kind) for part in parts])
    found = tensors.of_numpy(table, what)
    tensors.refuse_non_finite(found, what, None if names == [None] else names)
    return found[:, 0].contiguous() if series else found


def _refuse_column(name: Hashable, column: Any, what: str) -> None:
    if getattr(column.dtype, "kind", "O") not in "biuf":
        called, code = (
            ("it", "series") if name is None else (f"column {name!r}", f"frame[{name!r}]")
        )
        raise InputError(
            f"{what}: {called} holds {column.dtype}, not numbers; expected it encoded as numbers "
            f"(such as {code}.astype('category').cat.codes) or dropped."
        )
    missing = column.isna()
    if missing.any():
        row = int(missing.argmax())
        at = f"row {row}" if name is None else f"row {row}, column {name!r}"
        raise InputError(
            f"{what} have a missing value (NaN) at {at} (one of {int(missing.sum()):,} in all of its rows); "
            "expected finite numbers: drop these rows or fill them in."
        )


def refuse_other_order(inputs: Any, targets: Any, what: str) -> None:
    """Refuse a frame and a series whose rows have the same labels in another order: they would be paired wrongly.

    Raises:
        InputError: They have.
    """
    if not all(tensors.is_a(x, "pandas", "DataFrame", "Series") for x in (inputs, targets)):
        return
    mine, theirs = inputs.index, targets.index
    if len(mine) == len(theirs) and not mine.equals(theirs) and set(mine) == set(theirs):
        raise InputError(
            f"{what}: inputs and targets have the same row labels in another order; "
            "expected equal orders: pass y.loc[X.index]."
        )
