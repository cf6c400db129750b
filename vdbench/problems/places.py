"""Where an example's numbers stand among those that a layer is given: its rows, not the shape of a tensor.

A dense layer may be given a sequence as (M, T, D), (T, M, D), (M·T, D) or (T·M, D), and the two towers of a Siamese
network as (2·M, D). Every estimator is written for the first form, the example's axis first: a `Fold` brings the others
into it, and pre-activations back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Use(NamedTuple):
    """How one example uses a noisy layer in one forward pass.

    Attributes:
        inputs: Numbers that the layer is given.
        outputs: Pre-activations.
        places: How many of its pre-activations meet one weight: 1 of a dense layer, the locations of a convolution;
            those of all calls of a layer that is called several times.
        calls: How often the layer is called.
    """

    inputs: int
    outputs: int
    places: int
    calls: int = 1


class Fold(NamedTuple):
    """Which axis of a layer's input is the example's, and what else is folded into that axis.

    Attributes:
        axis: Among the leading axes, those before the features.
        times: How many places are folded into the axis with the examples; 1 where it is the examples' alone.
        first: Whether the example is the slower of the two there, as in ``x.view(M * T, D)`` of an (M, T, D).

    Example:
        >>> import torch
        >>> fold = Fold(axis=0, times=3, first=False)
        >>> rows = torch.arange(6).reshape(6, 1)  # three places of two examples, place by place
        >>> fold.to(rows, 2)[0].flatten().tolist()
        [0, 2, 4]
        >>> bool((fold.back(fold.to(rows, 2), 2) == rows).all())
        True
    """

    axis: int = 0
    times: int = 1
    first: bool = True

    @property
    def plain(self) -> bool:
        """Whether the example's axis is the first already."""
        return self.axis == 0 and self.times == 1

    def fits(self, x: Tensor, examples: int) -> bool:
        """Whether the rows are those of so many examples."""
        return x.dim() > self.axis and x.shape[self.axis] == examples * self.times

    def to(self, x: Tensor, examples: int) -> Tensor:
        """Rows with the example's axis first, (M, …, features).

        Args:
            x: As the network gives it.
            examples: M.
        """
        if self.plain:
            return x
        if self.times == 1:
            return x.movedim(self.axis, 0)
        parts = (examples, self.times) if self.first else (self.times, examples)
        split = x.reshape(*x.shape[: self.axis], *parts, *x.shape[self.axis + 1 :])
        return split.movedim(self.axis + (0 if self.first else 1), 0)

    def back(self, b: Tensor, examples: int) -> Tensor:
        """Pre-activations as the network expects them; the inverse of `to`."""
        if self.plain:
            return b
        if self.times == 1:
            return b.movedim(0, self.axis)
        split = b.movedim(0, self.axis + (0 if self.first else 1))
        return split.flatten(self.axis, self.axis + 1)


PLAIN = Fold()


def find(observed: Sequence[tuple[int, Tensor]]) -> Fold | None:
    """The fold that all observations agree with.

    Args:
        observed: For several numbers M of examples, M and which rows change with which example: booleans of shape
            (M, leading axes of the layer's input…).

    Returns:
        None where there is none, or no row changes with any example.
    """
    if not any(bool(changed.any()) for _, changed in observed):
        return None
    shapes = [tuple(changed.shape[1:]) for _, changed in observed]
    if len({len(shape) for shape in shapes}) > 1:
        return None
    for axis in range(len(shapes[0])):
        for first in (True, False):
            folds = {_fold(m, c, axis, first) for m, c in observed}
            if len(folds) == 1 and None not in folds:
                return folds.pop()
    return None


def _fold(examples: int, changed: Tensor, axis: int, first: bool) -> Fold | None:
    size = changed.shape[1 + axis]
    if size == 0 or size % examples:
        return None
    others = [a for a in range(1, changed.dim()) if a != 1 + axis]
    rows = changed.any(dim=others) if others else changed  # (M, size)
    times = size // examples
    numbers = torch.arange(size)
    owner = numbers // times if first else numbers % examples
    wrong = rows & (owner[None] != torch.arange(examples)[:, None])
    return None if bool(wrong.any()) else Fold(axis, times, first or times == 1)
