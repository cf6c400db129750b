"""Data sets that give one example at a time, read whole: those of torch, torchvision and Hugging Face, and loaders.

An example is ``(input, target)``, ``(input, input, …, target)`` or a dict of columns. Images of PIL, and arrays of
unsigned bytes (height, width[, channels]) of numpy, become floats (channels, height, width) in [0, 1], as torchvision's
``ToTensor`` makes them. Augmentations are applied once, under a fixed seed, and no global generator is moved.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vdbench.datasets import frames, pictures, tensors
from vdbench.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def is_source(value: object) -> bool:
    """Whether something is a data set that gives one example at a time, or a loader of one."""
    if tensors.is_a(value, "torch", "Dataset", "DataLoader") or is_columnar(value):
        return True
    if isinstance(value, str | bytes | Mapping | tuple) or tensors.is_array(value):
        return False
    if isinstance(value, list):
        return len(value) > 2 and all(isinstance(x, tuple | list | Mapping) for x in value)
    return hasattr(value, "__getitem__") and hasattr(value, "__len__")


def is_columnar(value: object) -> bool:
    """Whether something is a data set with named columns, as Hugging Face's are."""
    columnar = hasattr(value, "column_names") and hasattr(value, "with_format")
    return columnar and not isinstance(value, Mapping)  # a dict of splits has both, too


def read(source: Any, target: Hashable | None, what: str) -> tuple[Any, Any]:
    """Inputs and targets of all examples, in the data set's own order.

    Args:
        source: A map-style data set, or a ``DataLoader`` of one.
        target: Name of the target, where examples are dicts.
        what: What the data are called in errors.

    Returns:
        Inputs, a tensor (N, …), or a tuple or dict of such, and targets (N, …). Of a ``TensorDataset``, and of a loader
        with a ``collate_fn`` of its own, they are the tensors that it holds or makes.

    Raises:
        InputError: The data set has no length or no example, or an example is in a form that is not known.
    """
    with unmoved():
        if tensors.is_a(source, "torch", "DataLoader"):
            return _loaded(source, target, what)
        if tensors.is_a(source, "torch", "TensorDataset"):
            return parted(tuple(source.tensors), target, what)
        return _stacked(_rows(source, what), target, what)


def parted(row: Any, target: Hashable | None, what: str) -> tuple[Any, Any]:
    """What of an example, or of a batch of all of them, is input and what is target.

    Raises:
        InputError: It is neither a sequence of two or more nor a dict with a target.
    """
    if isinstance(row, Mapping):
        name = frames.target_of(list(row), target, what)
        rest = {str(key): value for key, value in row.items() if key != name}
        if not rest:
            raise InputError(f"{what} have no column beside the target '{name}'.")
        return (next(iter(rest.values())) if len(rest) == 1 else rest), row[name]
    if isinstance(row, tuple | list) and len(row) > 1:
        *inputs, last = row
        one = inputs[0] if len(inputs) == 1 else tuple(inputs)
        if isinstance(one, list) and not tensors.is_array(one):
            one = tuple(one)
        return (dict(one) if isinstance(one, Mapping) else one), last
    raise InputError(
        f"{what}: an example is a {type(row).__name__}{_length(row)}; expected (input, target), "
        "(input, input, target) or a dict with a target."
    )


def _length(row: Any) -> str:
    return f" of {len(row)}" if isinstance(row, tuple | list) else ""


def _rows(source: Any, what: str) -> Iterator[Any]:
    kind = type(source).__name__
    if tensors.is_a(source, "torch", "IterableDataset") or not hasattr(source, "__len__"):
        raise InputError(
            f"{what}: a {kind} has no length and can only be gone through; expected a data set with __len__ and "
            "__getitem__: pass list(…) of its examples."
        )
    return (_row(source, i, what) for i in range(len(source)))


def _row(source: Any, i: int, what: str) -> Any:
    try:
        return source[i]
    except Exception as error:
        raise InputError(
            f"{what}: reading example {i} of {type(source).__name__} failed: {type(error).__name__}: {error}"
        ) from error


def _loaded(loader: Any, target: Hashable | None, what: str) -> tuple[Any, Any]:
    """The data set of a loader in its own order, or all of it as the loader's ``collate_fn`` makes it."""
    source = loader.dataset
    sampler: Any = getattr(loader.batch_sampler, "sampler", None) or loader.sampler
    if tensors.is_a(sampler, "torch", "SubsetRandomSampler"):
        from torch.utils.data import Subset

        source = Subset(source, sorted(int(i) for i in sampler.indices))
    elif not tensors.is_a(
        sampler, "torch", "SequentialSampler", "RandomSampler", "_InfiniteConstantSampler"
    ) or not _whole(loader, sampler):
        raise InputError(
            f"{what}: the DataLoader draws its examples by {_named(sampler)}, which no fixed data set stands for; "
            "expected its data set itself, loader.dataset, or a Subset of it."
        )
    collate = loader.collate_fn
    if getattr(collate, "__name__", "") in ("default_collate", "default_convert"):
        return read(source, target, what)
    rows = list(_rows(source, what))
    return parted(collate(rows), target, what) if rows else _stacked(iter(()), target, what)


def _whole(loader: Any, sampler: Any) -> bool:
    """Whether a loader goes through its data set, once and whole."""
    batches = loader.batch_sampler
    own = batches is not None and not tensors.is_a(batches, "torch", "BatchSampler")
    known = hasattr(loader.dataset, "__len__")
    count = len(loader.dataset) if known else None
    part = known and getattr(sampler, "num_samples", count) != count
    return not (own or part or getattr(sampler, "replacement", False))


def _named(sampler: Any) -> str:
    more = " with replacement" if getattr(sampler, "replacement", False) else ""
    return f"{type(sampler).__name__}{more}"


# -- one example a row ----------------------------------------------------------------------------------------


def _stacked(rows: Iterator[Any], target: Hashable | None, what: str) -> tuple[Any, Any]:
    """Inputs and targets of examples, one below the other."""
    inputs: list[tuple[list[Hashable], list[Tensor]]] = []
    targets: list[Tensor] = []
    form: type = tuple
    for number, row in enumerate(rows):
        where = f"{what}, example {number}"
        given, last = parted(row, target, where)
        form = type(given) if isinstance(given, tuple | dict) else object
        several = given if isinstance(given, dict) else dict(enumerate(_several(given)))
        inputs.append(
            (list(several), [_part(v, f"{where}: {_called(k)}") for k, v in several.items()])
        )
        targets.append(_part(last, f"{where}: the target", image=False))
    if not targets:
        raise InputError(f"{what} have no examples; expected at least one.")
    names = inputs[0][0]
    for number, (found, _) in enumerate(inputs):
        if found != names:
            raise InputError(
                f"{what}, example {number} has the inputs {found}, example 0 has {names}; expected the same of all."
            )
    columns = [
        _stack([row[place] for _, row in inputs], f"{what}: {_called(name)}")
        for place, name in enumerate(names)
    ]
    y = _stack(targets, f"{what}: the target")
    if form is dict:
        return dict(zip(map(str, names), columns, strict=True)), y
    return (tuple(columns) if form is tuple else columns[0]), y


def _several(given: Any) -> tuple[Any, ...]:
    return given if isinstance(given, tuple) else (given,)


def _called(name: Hashable) -> str:
    return f"column '{name}'" if isinstance(name, str) else f"input {name}"


def _part(value: Any, what: str, image: bool = True) -> Tensor:
    """One input or target of one example."""
    import torch

    if value is None or isinstance(value, str | bytes):
        held = "None" if value is None else "text"
        raise InputError(
            f"{what} is {held}; expected numbers: encode it, or leave it out (remove_columns in Hugging Face's "
            "data sets)."
        )
    picture = tensors.is_a(value, "PIL", "Image")
    if picture or (image and pictures.is_bytes(value)):
        return pictures.floats(value, what) if image else pictures.classes(value, what)
    if tensors.is_a(value, "torch", "Tensor"):
        return tensors.of_torch(value, what)
    if isinstance(value, float):
        return torch.tensor(value)
    try:
        import numpy as np

        return tensors.of_numpy(np.asarray(value), what)
    except ValueError as error:
        raise InputError(f"{what} is a {type(value).__name__}; expected numbers.") from error


def _stack(values: Sequence[Tensor], what: str) -> Tensor:
    import torch

    first = values[0]
    for number, value in enumerate(values):
        if value.shape != first.shape:
            raise InputError(
                f"{what} has shape {tuple(value.shape)} in example {number} and {tuple(first.shape)} in example 0; "
                "expected one shape: pad or crop, or pass a DataLoader whose collate_fn does."
            )
        if value.dtype.is_floating_point != first.dtype.is_floating_point:
            raise InputError(
                f"{what} is {value.dtype} in example {number} and {first.dtype} in example 0; expected one type."
            )
    return torch.stack(list(values))


@contextmanager
def unmoved() -> Iterator[None]:
    """The global generators of Python, numpy and torch, seeded, and afterwards as they were."""
    import random

    import numpy as np
    import torch

    kept, numbers = random.getstate(), np.random.get_state()
    random.seed(0)
    np.random.seed(0)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            yield
    finally:
        random.setstate(kept)
        np.random.set_state(numbers)
