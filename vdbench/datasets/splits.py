"""What a data set is: examples with their targets, in a training and a test split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

NO_TEST = "the data set has no test split"
"""Said wherever a figure of the test split is missing for this reason."""


class Split(NamedTuple):
    """Examples with their targets.

    Attributes:
        inputs: (N, …), one row an example. Of a data set that vdbench loads: float32; grey images in [0, 1], shape
            (N, features); colour images in [0, 1], shape (N, 3, height, width); measurements standardised, shape
            (N, features).
        targets: int64 class numbers, shape (N,), of a classification; else as the likelihood takes them.
    """

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Dataset:
    """Training and test examples.

    Attributes:
        name: Its name.
        train: The training examples.
        test: The test examples; none, inputs of shape (0, …), where there is no test split.
        classes: How many classes there are; 0 where the targets are no class numbers.
    """

    name: str
    train: Split
    test: Split
    classes: int

    @property
    def has_test(self) -> bool:
        """Whether there is a test split: without one, no figure of it is computed."""
        return len(self.test.targets) > 0
