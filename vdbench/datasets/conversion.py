"""Data as people have it, made into a data set: arrays, frames, and data sets of torch and Hugging Face."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vdbench.datasets import Dataset, Split, examples, frames, load, parts, tensors
from vdbench.datasets.splits import NO_TEST
from vdbench.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

FORMS = (
    "(X, y) of arrays, (train, test), a pandas frame with target='COLUMN', a torch or Hugging Face data set, "
    "a DataLoader, or a data set's name"
)
"""What is accepted, in errors."""


@dataclass(frozen=True)
class Converted:
    """What `as_dataset` makes of data.

    Attributes:
        dataset: Training and test split. Of a network with several inputs, ``inputs`` are row numbers (N,) into
            `tables`: the training rows first, then the test rows.
        tables: The inputs themselves, each (N + T, …), by place or by name; None of a network with one input.
        said: What was decided, a sentence each.
    """

    dataset: Dataset
    tables: tuple[Tensor, ...] | dict[str, Tensor] | None = None
    said: tuple[str, ...] = ()


def as_dataset(
    data: Any, *, test: Any = None, target: Hashable | None = None, name: str = "data"
) -> Converted:
    """Make a data set of data in any common form; the data themselves are left as they are, and copied.

    Args:
        data: A `vdbench.datasets.Dataset` or the name of one; ``(X, y)`` of numpy arrays, torch tensors, pandas objects
            or lists of numbers, where X may be a tuple or a dict of arrays, the network's several inputs; a pandas
            frame with ``target``; a map-style ``torch.utils.data.Dataset``, torchvision's included; a ``DataLoader``,
            of which the data set is read in its own order, through ``collate_fn`` where it is not the default one; a
            Hugging Face data set; or ``(train, test)`` of any of these, or a dict with them.
        test: The test split, in the form of the training split; None for none.
        target: Name of the target column; default the only column called ``label``, ``labels`` or ``target``.
        name: Label of the data set.

    Returns:
        The data set, with the tables of its inputs where there are several. Integers stay integers (int64; unsigned
        bytes and booleans keep their type); floats of others than torch get torch's default type; targets that are
        integers or booleans become int64.

    Raises:
        InputError: The data are in none of these forms, empty, of different lengths, no numbers, or not finite.

    Example:
        >>> import numpy as np
        >>> from vdbench.datasets.conversion import as_dataset
        >>> X, y = np.random.rand(100, 4), np.arange(100) % 3
        >>> found = as_dataset((X, y)).dataset
        >>> found.train.inputs.dtype, found.train.inputs.shape, found.classes, found.has_test
        (torch.float32, torch.Size([100, 4]), 3, False)
        >>> two = as_dataset(((X[:, :2], X[:, 2:]), y))
        >>> two.dataset.train.inputs[:3], [table.shape for table in two.tables]
        (tensor([0, 1, 2]), [torch.Size([100, 2]), torch.Size([100, 2])])
    """
    what = f"data '{name}'"
    if isinstance(data, str):
        data = load(data)
    if isinstance(data, Dataset | Converted):
        if test is not None or target is not None:
            given = "test" if test is not None else "target"
            raise InputError(
                f"{what}: a vdbench Dataset has its own {given}; expected no {given}=."
            )
        return data if isinstance(data, Converted) else Converted(check(data))
    first, second = _splits(data, test, target, what)
    train = _part(first, target, f"{what}, training")
    if second is None:
        return _joined(name, train, None, (f"{NO_TEST}: no figure of a test set is computed.",))
    held_out = _part(second, target, f"{what}, test")
    parts.refuse_different(train, held_out, what)
    return _joined(name, train, held_out, ())


def check(dataset: Dataset) -> Dataset:
    """See that the lengths of inputs and targets agree, that there are training examples and all numbers are finite.

    Raises:
        InputError: They do not, there are none, or one is not.
    """
    for kind, split in (("training", dataset.train), ("test", dataset.test)):
        what = f"data '{dataset.name}', {kind}"
        parts.refuse_lengths({0: split.inputs}, split.targets, what, least=int(kind == "training"))
        tensors.refuse_non_finite(split.inputs, f"{what} inputs")
        tensors.refuse_non_finite(split.targets, f"{what} targets")
    return dataset


# -- splits ---------------------------------------------------------------------------------------------------


def _splits(data: Any, test: Any, target: Hashable | None, what: str) -> tuple[Any, Any]:
    """The training and the test split, the latter None where there is none."""
    if isinstance(data, Mapping) and "train" in data:
        own = data.get("test")
    elif isinstance(data, tuple | list) and len(data) == 2 and _both(data[0], data[1], target):
        data, own = {"train": data[0]}, data[1]
    else:
        return data, test
    if own is not None and test is not None:
        raise InputError(
            f"{what}: test= is given and the data have a test split of their own; expected one."
        )
    return data["train"], test if own is None else own


def _both(first: Any, second: Any, target: Hashable | None) -> bool:
    """Whether two things are splits, and not inputs and targets."""
    if tensors.is_frame(first) and tensors.is_frame(second):
        known = frames.TARGETS if target is None else (target,)
        return any(name in first.columns and name in second.columns for name in known)
    return _is_split(first) and _is_split(second)


def _is_split(value: Any) -> bool:
    if examples.is_source(value) or isinstance(value, Mapping):
        return True  # targets are no dict
    if not isinstance(value, tuple | list) or len(value) != 2 or tensors.is_array(value):
        return False
    return tensors.is_array(value[1]) and (
        tensors.is_array(value[0]) or isinstance(value[0], tuple | list | Mapping)
    )


def _part(data: Any, target: Hashable | None, what: str) -> parts.Part:
    """One split, of whatever form."""
    if tensors.is_frame(data):
        return parts.assembled(*frames.split(data, target, what), what)
    if examples.is_source(data):
        return parts.assembled(*examples.read(data, target, what), what)
    if tensors.is_a(data, "sklearn", "Bunch") and {"data", "target"} <= set(data):
        return parts.assembled(data["data"], data["target"], what)
    if isinstance(data, Mapping):
        return parts.assembled(*examples.parted(data, target, what), what)
    if tensors.is_array(data) or not isinstance(data, tuple | list) or len(data) != 2:
        kind = type(data).__name__
        many = f" of {len(data)}" if isinstance(data, tuple | list) else ""
        raise InputError(
            f"{what}: a {kind}{many} is no form of data with targets; expected {FORMS}."
        )
    if target is not None:
        raise InputError(
            f"{what}: target={target!r} names a column, and the data are a pair (X, y); expected no target=."
        )
    inputs, targets = data
    frames.refuse_other_order(inputs, targets, what)
    return parts.assembled(inputs, targets, what)


def _joined(
    name: str, train: parts.Part, test: parts.Part | None, said: tuple[str, ...]
) -> Converted:
    """The data set of both splits, and the tables of several inputs."""
    import torch

    y = train.targets
    test_y = y[:0].clone() if test is None else test.targets.to(y)
    if train.form == "one":
        (x,) = train.inputs.values()
        test_x = x[:0].clone() if test is None else next(iter(test.inputs.values())).to(x)
        data = Dataset(name, Split(x, y), Split(test_x, test_y), _classes(y, test_y))
        return Converted(data, None, said)
    rows = torch.arange(len(y) + len(test_y), device=y.device)
    tables = {
        key: value if test is None else torch.cat([value, test.inputs[key].to(value)])
        for key, value in train.inputs.items()
    }
    splits = Split(rows[: len(y)].clone(), y), Split(rows[len(y) :].clone(), test_y)
    data = Dataset(name, *splits, _classes(y, test_y))
    if train.form == "names":
        return Converted(data, {str(key): value for key, value in tables.items()}, said)
    return Converted(data, tuple(tables.values()), said)


def _classes(*targets: Tensor) -> int:
    """How many classes integer targets (N,) number; 0 where they are none."""
    every = [y for y in targets if len(y)]
    if any(y.is_floating_point() or y.dim() != 1 or bool((y < 0).any()) for y in every):
        return 0
    return max(int(y.max()) for y in every) + 1
