"""Arrays as people have them, made into tensors of their own: copied, and refused where they hold no numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vdbench.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def is_a(value: object, library: str, *classes: str) -> bool:
    """Whether something is an instance of a class of a library, which need not be installed."""
    return any(
        kind.__name__ in classes and kind.__module__.partition(".")[0] == library
        for kind in type(value).__mro__
    )


def is_frame(value: object) -> bool:
    """Whether something is a pandas frame."""
    return is_a(value, "pandas", "DataFrame")


def is_array(value: object) -> bool:
    """Whether something is one array: torch's, numpy's, a pandas frame or series, or a list of numbers or of such."""
    if is_a(value, "torch", "Tensor") or is_a(value, "numpy", "ndarray"):
        return True
    if is_a(value, "pandas", "DataFrame", "Series", "Index") or is_sparse(value):
        return True
    if hasattr(type(value), "__array__") and not is_a(value, "PIL", "Image"):
        return not _is_number(value)  # of h5py, jax, ...
    if isinstance(value, tuple):  # a tuple holds several arrays, unless it holds numbers
        return len(value) > 0 and all(map(_is_number, value))
    return isinstance(value, list) and _shape(value) is not None


def is_sparse(value: object) -> bool:
    """Whether something is a sparse matrix of scipy."""
    return type(value).__module__.startswith("scipy.sparse")


def _is_number(value: object) -> bool:
    return isinstance(value, bool | int | float) or is_a(value, "numpy", "number", "bool", "bool_")


def _shape(value: object) -> tuple[int, ...] | None:
    """The shape of nested lists of numbers; None where they are none, or are not rectangular."""
    if _is_number(value):
        return ()
    if not isinstance(value, list) or not value:
        return (0,) if isinstance(value, list) else None
    inner = {_shape(part) for part in value}
    (one,) = inner if len(inner) == 1 else (None,)
    return None if one is None else (len(value), *one)


def tensor(value: Any, what: str) -> Tensor:
    """A tensor that shares no memory with what it is made of.

    Args:
        value: Array of torch, numpy or a library that numpy can read, or nested lists of numbers.
        what: What it is called in errors, in the plural, such as ``data 'mine', training inputs``.

    Returns:
        A torch tensor keeps its type. Floats of others get torch's default type, unsigned bytes and booleans keep
        theirs, other integers become int64.

    Raises:
        InputError: It holds no numbers, or numbers that are not finite.
    """
    import numpy as np

    if is_sparse(value):
        raise InputError(
            f"{what} are a sparse matrix; expected a dense array: call toarray() first."
        )
    torchs = is_a(value, "torch", "Tensor")
    found = of_torch(value, what) if torchs else of_numpy(_array(np, value, what), what)
    refuse_non_finite(found, what)
    return found


def _array(np: Any, value: Any, what: str) -> Any:
    if is_a(value, "numpy", "MaskedArray") and np.ma.is_masked(value):
        raise InputError(f"{what} have masked values; expected an array without: fill them first.")
    try:
        return np.asarray(value)
    except ValueError as error:  # nested lists that are not rectangular
        raise InputError(
            f"{what} are lists of different lengths; expected one shape an example."
        ) from error


def of_torch(value: Tensor, what: str) -> Tensor:
    """A copy of a tensor, detached.

    Raises:
        InputError: The tensor is sparse, or of complex numbers.
    """
    import torch

    if value.layout is not torch.strided:
        raise InputError(
            f"{what} are a sparse tensor; expected a dense one: call to_dense() first."
        )
    if value.is_complex():
        raise InputError(f"{what} are complex numbers; expected real ones.")
    return value.detach().clone(memory_format=torch.contiguous_format)


def of_numpy(array: Any, what: str) -> Tensor:
    """A tensor of a copy of a numpy array.

    Raises:
        InputError: The array holds no real numbers.
    """
    import numpy as np
    import torch

    kind = array.dtype.kind
    if kind not in "biuf":
        held = {"O": "objects", "U": "text", "S": "bytes", "M": "dates", "c": "complex numbers"}
        raise InputError(
            f"{what} hold {held.get(kind, 'records')} (dtype {array.dtype}); expected numbers."
        )
    if kind == "f":
        floats = np.array(array, dtype=np.float64 if array.dtype.itemsize > 4 else np.float32)
        return torch.from_numpy(floats).to(torch.get_default_dtype())
    if kind == "u" and array.dtype.itemsize == 8 and array.size and array.max() > 2**63 - 1:
        raise InputError(f"{what} hold integers above 2⁶³ − 1; expected such as fit into int64.")
    kept = kind == "b" or array.dtype == np.uint8
    return torch.from_numpy(np.array(array, dtype=array.dtype if kept else np.int64))


def as_targets(found: Tensor) -> Tensor:
    """Targets: integers and booleans as int64, as likelihoods take them; floats as they are."""
    return found if found.is_floating_point() else found.long()


def refuse_non_finite(found: Tensor, what: str, columns: Sequence[object] | None = None) -> None:
    """Refuse NaN and infinity, with the row and column of the first.

    Args:
        found: (N, …).
        what: What it is called in errors.
        columns: Names of the columns, where they have any.

    Raises:
        InputError: There is one.
    """
    import torch

    if found.is_meta:
        raise InputError(f"{what} are on the device 'meta' and have no numbers.")
    if not found.is_floating_point() or bool(torch.isfinite(found).all()):
        return
    bad = ~torch.isfinite(found)
    row, *place = bad.nonzero()[0].tolist()
    value = float(found[(row, *place)])
    where = f"row {row}"
    if columns is not None:
        where += f", column {columns[place[0]]!r}"
    elif len(place) == 1:
        where += f", column {place[0]}"
    elif place:
        where += f", place {tuple(place)}"
    raise InputError(
        f"{what} have {value:g} at {where} (one of {int(bad.sum()):,} such values); "
        "expected finite numbers: drop these rows or fill them in."
    )
