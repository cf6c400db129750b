"""The data sets that come with scikit-learn, each with a split that never changes."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SPLIT_SEED = 2015
DIGITS_TRAIN = 1437
BREAST_CANCER_TRAIN = 455
DIABETES_TRAIN = 354


def fixed_split(examples: int, train: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The indices of training (the first ``train`` of a permutation) and test.

    The permutation sorts raw 64-bit outputs of PCG64 seeded with 2015. Only the raw stream of a bit
    generator is promised never to change, so the split is the same on every machine and numpy.
    """
    import numpy as np

    keys = np.random.PCG64(SPLIT_SEED).random_raw(examples)
    order = np.argsort(keys, kind="stable")
    return order[:train], order[train:]


def read_digits() -> tuple[np.ndarray[Any, Any], ...]:
    """Training inputs (1437, 64) in [0, 1] and classes (1437,), then the same of the 360 for testing."""
    import numpy as np

    pixels, classes = _table("digits.csv.gz", 0)  # pixels are whole numbers from 0 to 16
    inputs = pixels.astype(np.float32) / np.float32(16)
    train, test = fixed_split(len(pixels), DIGITS_TRAIN)
    return inputs[train], classes[train], inputs[test], classes[test]


def read_breast_cancer() -> tuple[np.ndarray[Any, Any], ...]:
    """Training inputs (455, 30), standardised, and classes (455,), then the same of the 114 for testing."""
    import numpy as np

    measured, classes = _table("breast_cancer.csv", 1)
    train, test = fixed_split(len(measured), BREAST_CANCER_TRAIN)
    inputs = standardised(measured, train).astype(np.float32)
    return inputs[train], classes[train], inputs[test], classes[test]


def read_diabetes() -> tuple[np.ndarray[Any, Any], ...]:
    """Training inputs (354, 10) and targets (354, 1), both standardised, then the same of the 88 for testing."""
    import numpy as np
    from sklearn.datasets import load_diabetes

    measured, progression = load_diabetes(return_X_y=True, scaled=False)
    train, test = fixed_split(len(measured), DIABETES_TRAIN)
    inputs = standardised(measured, train).astype(np.float32)
    targets = standardised(progression[:, None], train).astype(np.float32)
    return inputs[train], targets[train], inputs[test], targets[test]


def _table(name: str, header: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A table of scikit-learn's: all columns but the last, and the last as classes.

    The file is read where it is: to import scikit-learn takes most of a second, and each process of a run would.

    Args:
        name: Of the file in ``sklearn/datasets/data``.
        header: Lines before the numbers.
    """
    import numpy as np

    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
    file = Path(package.submodule_search_locations[0]) / "datasets" / "data" / name
    values = np.loadtxt(file, delimiter=",", skiprows=header)
    return values[:, :-1], values[:, -1].astype(np.int64)


def standardised(values: np.ndarray[Any, Any], train: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Columns shifted and scaled to mean 0 and variance 1 over the rows ``train``, with the same for all rows.

    Nothing of the test rows enters. Sums are exactly rounded, so that every machine gets the same bits whatever order
    its numpy adds in.

    Args:
        values: (N, features).
        train: Indices of rows.
    """
    import numpy as np

    n = len(train)
    mean = np.array([math.fsum(column) / n for column in values[train].T])
    centred = values - mean
    variance = [math.fsum(column * column) / n for column in centred[train].T]
    scaled: np.ndarray[Any, Any] = centred / np.sqrt(np.array(variance))
    return scaled
