"""What a parameterization of q is, and the checks that all of them share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from torch import Tensor

from vdbench.errors import InputError, nearest
from vdbench.problems.posterior import NOISE_LAWS, Law, Posterior, Sharing


class Parameterization(ABC):
    """The coordinates of q(w) for one layer. Names of coordinates end the names of parameters (``fc1.mean``)."""

    name: ClassVar[str]
    roles: ClassVar[dict[str, str]]

    @abstractmethod
    def initial(self, weight: Tensor, place: int = 0) -> dict[str, Tensor]:
        """Coordinates of a q centred on ``weight``, as new tensors of its dtype and device.

        Args:
            weight: Of the layer.
            place: Number of the layer among the noisy ones, for coordinates that start elsewhere in each.
        """

    @abstractmethod
    def gaussian(self, coordinates: Mapping[str, Tensor]) -> Posterior:
        """The law at these coordinates, differentiable in them, with the `law` and `sharing` told here."""

    @property
    def fixed(self) -> tuple[str, ...]:
        """Coordinates that are held fixed: no gradient is taken in them."""
        return ()

    @property
    def layers(self) -> int | None:
        """How many noisy layers the coordinates are meant for; None for any number."""
        return None

    @property
    def law(self) -> Law:
        """The law of the noise."""
        return "normal"

    @property
    def elementwise(self) -> bool:
        """Whether mean and scale of a weight depend on the coordinates at that weight's place alone.

        A coordinate that several weights share is at the place of each of them, by broadcasting.
        """
        return False

    @property
    def learned_law(self) -> bool:
        """Whether the law of the noise itself is learned, so that no gradient passes through a draw of it."""
        return False

    @property
    def sharing(self) -> Sharing:
        """Whether every weight has noise of its own, or every input feature one for all outputs."""
        return "weights"

    @property
    def independent_normal(self) -> bool:
        """Whether the weights are independent and normal."""
        return self.law == "normal" and self.sharing == "weights"

    @property
    def sign_symmetric(self) -> bool:
        """Whether W − mean keeps its law when inputs and outputs, each or not, change sign: s_i t_j (W_ji − mean_ji).

        So it is with independent weights that are symmetric about their means, but not with correlated ones: their
        covariance Cov(W_ji, W_lk) becomes s_i s_k t_j t_l times itself.
        """
        return self.independent_normal

    @property
    def normal_preactivations(self) -> bool:
        """Whether one example's pre-activations of a dense layer are jointly normal, with a covariance q knows."""
        return self.independent_normal

    @property
    def correlated(self) -> bool:
        """Whether the weights are normal and correlated, with a `vdbench.problems.structure.Correlated`."""
        return self.law == "structured" and self.normal_preactivations

    @property
    def separable(self) -> bool:
        """Whether some weights of a layer have a law of the same form as all of them."""
        return self.law != "structured"

    @property
    def noise_laws(self) -> tuple[str, ...]:
        """What the law of the noise asks of `vdbench.noise.Noise`."""
        return NOISE_LAWS[self.law]


def each(what: str, value: Any) -> Any:
    """A list of values, one for each noisy layer, as a tuple; a single value as it is.

    Raises:
        InputError: The list is empty.
    """
    if not isinstance(value, list | tuple):
        return value
    if not value:
        raise InputError(f"{what} of the posterior is an empty list.")
    return tuple(value)


def at(value: float | tuple[float, ...], place: int) -> float:
    """The value of one layer."""
    return value[place] if isinstance(value, tuple) else value


def count(value: float | tuple[float, ...]) -> int | None:
    """As many layers as there are values in a list; None for a single value."""
    return len(value) if isinstance(value, tuple) else None


def between(what: str, value: Any, low: float, high: float = math.inf) -> None:
    """Refuse what is no number, or one list of them, strictly between two bounds."""
    bounds = f"a finite number above {low:g}" + (f" and below {high:g}" if high < math.inf else "")
    for one in value if isinstance(value, tuple) else (value,):
        number = isinstance(one, int | float) and not isinstance(one, bool)
        if not (number and math.isfinite(one) and low < one < high):
            raise InputError(f"{what} of the posterior must be {bounds}, not {one!r}.")


def whole(what: str, value: Any, low: int) -> None:
    """Refuse what is no whole number of at least ``low``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise InputError(
            f"{what} of the posterior must be a whole number of at least {low}, not {value!r}."
        )


def one_of(what: str, value: Any, known: Collection[str]) -> None:
    """Refuse a word that is none of those known."""
    if not isinstance(value, str) or value not in known:
        hint = nearest(value if isinstance(value, str) else "", known)
        raise InputError(f"{what} of the posterior is unknown: {value!r}.{hint}")
