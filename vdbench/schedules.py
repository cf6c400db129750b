"""How training changes over its epochs: learning rate, weight of the KL, and bounds on log α."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

from vdbench import kinds
from vdbench.errors import InputError


class Schedule(Protocol):
    """What the learning rate is multiplied by."""

    def factor(self, epoch: float, epochs: int) -> float:
        """The factor after ``epoch`` of ``epochs`` epochs; an epoch under way counts in part."""
        ...


@dataclass(frozen=True)
class Constant:
    """The learning rate as it is given."""

    def factor(self, epoch: float, epochs: int) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True)
class Linear:
    """Linear decay to 0 at the end of training; falls at every step."""

    def factor(self, epoch: float, epochs: int) -> float:
        """1 − epoch/epochs."""
        return max(0.0, 1 - epoch / epochs)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 to 0 at the end of training (Loshchilov & Hutter 2017, without restarts)."""

    def factor(self, epoch: float, epochs: int) -> float:
        """½(1 + cos(π·epoch/epochs))."""
        return 0.5 * (1 + math.cos(math.pi * min(1.0, epoch / epochs)))


@dataclass(frozen=True)
class Step:
    """A fall by a factor after every so many epochs.

    Attributes:
        every: Epochs at one rate.
        by: What the rate is multiplied by then.
    """

    every: int = 10
    by: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what is no fall."""
        if type(self.every) is not int or self.every < 1:
            raise InputError(
                f"schedule 'step': every must be a whole number above 0, not {self.every!r}."
            )
        if not _number(self.by) or not 0 < self.by < 1:
            raise InputError(f"schedule 'step': by must lie between 0 and 1, not {self.by!r}.")

    def factor(self, epoch: float, epochs: int) -> float:
        """by^⌊epoch/every⌋."""
        return float(self.by ** int(epoch // self.every))


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "linear": Linear,
    "cosine": Cosine,
    "step": Step,
}


def from_spec(spec: object) -> Schedule:
    """Build the schedule a suite asks for: a name, or ``{'kind': 'step', 'every': 10, 'by': 0.1}``.

    Raises:
        InputError: The form, the name or an option is not one there is.
    """
    return kinds.build("schedule", SCHEDULES, spec)


@dataclass(frozen=True)
class Recipe:
    """What of training changes over epochs. The default changes nothing and weighs the KL once.

    Attributes:
        epochs: Epochs in all, over which the schedule runs; 0 where the schedule is constant.
        schedule: Of the learning rate.
        kl_weight: What the KL's gradient is multiplied by: 1 for the ELBO, less for a down-weighted KL (Kingma,
            Salimans & Welling 2015 call a third of it A2), 0 for maximum likelihood.
        warm_up: Epochs over which that weight rises linearly from 0.
        log_alpha: Lowest and highest log α, None for no bound: (None, 0) keeps α at or below 1 (Kingma et al. 2015),
            (−8, 8) is the range of Molchanov, Ashukha & Vetrov 2017.
        noise_rate: What the learning rate is multiplied by for the coordinates of the noise (log σ², log α): Adam moves
            each about as far a step, and these have farther to go.
    """

    epochs: int = 0
    schedule: Schedule = field(default_factory=Constant)
    kl_weight: float = 1.0
    warm_up: int = 0
    log_alpha: tuple[float | None, float | None] = (None, None)
    noise_rate: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no recipe.

        Raises:
            InputError: A weight is negative, a bound no number or above the other, or a schedule without epochs.
        """
        if not _number(self.kl_weight) or self.kl_weight < 0:
            raise InputError(
                f"kl_weight must be a finite number of at least 0, not {self.kl_weight!r}."
            )
        if not _number(self.noise_rate) or self.noise_rate <= 0:
            raise InputError(
                f"noise_rate must be a finite number above 0, not {self.noise_rate!r}."
            )
        if type(self.warm_up) is not int or self.warm_up < 0:
            raise InputError(f"warm_up must be a whole number of epochs, not {self.warm_up!r}.")
        if any(bound is not None and not _number(bound) for bound in self.log_alpha):
            raise InputError(f"bounds on log α must be finite numbers, not {self.log_alpha!r}.")
        low, high = self.log_alpha
        if low is not None and high is not None and low > high:
            raise InputError(f"the lower bound on log α, {low:g}, is above the upper, {high:g}.")
        if self.epochs < 1 and not isinstance(self.schedule, Constant):
            raise InputError("a schedule that is not constant needs the epochs it runs over.")

    @property
    def bounded(self) -> bool:
        """Whether log α is kept within bounds."""
        return self.log_alpha != (None, None)

    def rate(self, epoch: float) -> float:
        """What the learning rate is multiplied by after so many epochs."""
        return self.schedule.factor(epoch, self.epochs)

    def weight(self, epoch: float) -> float:
        """The KL's weight after so many epochs."""
        if not self.warm_up:
            return self.kl_weight
        return self.kl_weight * min(1.0, epoch / self.warm_up)


def _number(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]
