"""Coupled noise: S samples that are asked for together and spread evenly, each of them of the law wanted.

A coordinate is one number of one request. Its S numbers are made of S strata of equal probability, one for each
sample, and a place within each stratum, uniform and independent. What differs is how the strata are dealt out:

- `LatinHypercube`: in an order of the coordinate's own, all orders equally likely (McKay, Beckman & Conover 1979);
- `Sobol`: in the order of a Sobol' net, scrambled by Owen's nested uniform permutations (Owen 1995), so that
  boxes of several coordinates are filled evenly too.

Either way the numbers of one sample are independent and exactly of their law: the mean of S draws of an estimator
is unbiased for whatever one draw is. Everything is a function of uniform numbers asked of an ordinary source, so that
traces, vectorised draws and common addresses work as they do without coupling.

`Coupling` is the base of the wrappers that average draws on such noise.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vdbench.errors import CellError, InputError
from vdbench.estimation.base import Declaration, Gradient, Wrapper, average, chain
from vdbench.noise import POSTERIOR, Noise, Request, Source
from vdbench.problems.problem import Batch, Parameters, Problem

LAWS = ("normal", "sign", "uniform")
"""The laws that numbers can be coupled in: each is made of a uniform number by the inverse of its distribution."""

DIMENSIONS = 21201
"""Dimensions of a Sobol' net: those for which Joe & Kuo 2008 give direction numbers."""

Ask = Callable[[str, int], Tensor]
"""``ask(what, count)`` gives uniform numbers (count, *shape) for the request at hand."""


class Strata(Protocol):
    """How the S strata of each coordinate are dealt out to the samples."""

    def __call__(self, request: Request, ask: Ask, samples: int) -> Tensor:
        """Numbers 0 to S − 1, each once in every coordinate: (S, *shape of the request)."""
        ...


@dataclass(frozen=True)
class LatinHypercube:
    """An order of its own for every coordinate, all S! equally likely."""

    def __call__(self, request: Request, ask: Ask, samples: int) -> Tensor:
        """The order in which S uniform numbers are sorted."""
        return ask("order", samples).argsort(0)


@dataclass
class Sobol:
    """The order of a Sobol' net, scrambled; coordinates take its dimensions in the order in which they are asked for.

    A net has as many dimensions as a block. Further coordinates take those of the next block: the same net, scrambled
    independently, its points in a random order (Latin supercube sampling, Owen 1998), without which coordinates on the
    same dimension would move together.

    Attributes:
        root: Noise at the address of the whole set.
        block: Coordinates that one net serves, at most `DIMENSIONS`.
        taken: Coordinates that have a dimension.
    """

    root: Noise
    block: int = DIMENSIONS
    taken: int = 0
    _orders: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def __call__(self, request: Request, ask: Ask, samples: int) -> Tensor:
        """The first digits of the net's points, permuted at each node of their tree: S − 1 fair coins a coordinate."""
        coins = (ask("coins", samples - 1) < 0.5).flatten(1)
        parts = []
        first, end = self.taken, self.taken + coins.shape[1]
        while first < end:
            place = first % self.block
            size = min(self.block - place, end - first)
            points = self._points(first // self.block, samples, coins.device)
            start = first - self.taken
            parts.append(
                scramble(points[:, place : place + size], coins[:, start : start + size], samples)
            )
            first += size
        self.taken = end
        return torch.cat(parts, 1).reshape(samples, *request.shape)

    def _points(self, block: int, samples: int, device: torch.device) -> Tensor:
        """A block's points, (S, block); the order of the first one's is that of the samples."""
        points = torch.as_tensor(net(samples), device=device)[:, : self.block]
        if not block:
            return points
        request = Request((*self.root.path, "coupled", "points", block), (samples,), "uniform")
        if block not in self._orders:
            self._orders[block] = self.root.source(request).argsort(0)
        return points[self._orders[block]]


@functools.lru_cache(maxsize=8)
def net(samples: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The first S points of the Sobol' sequence as strata 0 to S − 1, (S, `DIMENSIONS`), S a power of 2."""
    from scipy.stats import qmc

    sequence = qmc.Sobol(DIMENSIONS, scramble=False).random_base2(samples.bit_length() - 1)
    strata: np.ndarray[Any, np.dtype[np.int64]] = (sequence * samples).astype(np.int64)
    return strata


def scramble(points: Tensor, coins: Tensor, samples: int) -> Tensor:
    """Owen's scrambling of the first digits of points.

    A digit is flipped or not by the coin of the node that the digits before it lead to. Points in distinct strata
    differ in a digit; the digits after those are independent and uniform, and are left to the place in the stratum.

    Args:
        points: Strata, (S, D), 0 to S − 1; S a power of 2.
        coins: A fair coin for each node of each coordinate's tree, (S − 1, D).
        samples: S.
    """
    found = torch.zeros_like(points)
    digits = samples.bit_length() - 1
    for level in range(digits):
        node = 2**level - 1 + (points >> (digits - level))
        digit = (points >> (digits - level - 1)) & 1
        found = 2 * found + (digit ^ coins.gather(0, node).to(points.dtype))
    return found


@dataclass(frozen=True)
class Together:
    """The coupled numbers of all samples, made when the first of them is asked for, and held."""

    source: Source
    samples: int
    strata: Strata
    answers: dict[Request, Tensor] = field(default_factory=dict)

    def make(self, request: Request) -> None:
        """Ask the source for what the request's numbers are made of."""

        def ask(what: str, count: int) -> Tensor:
            path = (*request.path[:-1], "coupled", request.law, what, request.path[-1])
            return self.source(Request(path, (count, *request.shape), "uniform"))

        place = ask("place", self.samples)
        strata = torch.zeros_like(place)
        if self.samples > 1:
            strata = self.strata(request, ask, self.samples).to(place.dtype)
        self.answers[request] = spread(strata, place, self.samples, request.law)


@dataclass(frozen=True)
class Member:
    """The noise of one of the samples."""

    of: Together
    sample: int
    asked: set[Request] = field(default_factory=set)

    def __call__(self, request: Request) -> Tensor:
        """Hand out this sample's numbers; asked for them twice, ask the source twice, which a trace refuses."""
        if request in self.asked or request not in self.of.answers:
            self.of.make(request)
        self.asked.add(request)
        return self.of.answers[request][self.sample]


def coupled(noise: Noise, samples: int, strata: Strata) -> list[Noise]:
    """The noise of S coupled samples; all their numbers are held for as long as one of them is.

    Args:
        noise: At the address of the whole set; it is asked for uniform numbers alone.
        samples: S.
        strata: How they are coupled.

    Example:
        >>> from vdbench.noise import Key, stream
        >>> three = coupled(stream(Key() / "example"), 3, LatinHypercube())
        >>> sorted(int(3 * one("layer", (), "uniform")) for one in three)
        [0, 1, 2]
    """
    together = Together(noise.source, samples, strata)
    return [Noise(Member(together, s), noise.path) for s in range(samples)]


def spread(strata: Tensor, place: Tensor, samples: int, law: str) -> Tensor:
    """Numbers of a law at given places of given strata.

    A normal number is computed from the tail that it lies in, so that both tails reach equally far in float32 and
    neither is infinite: a uniform number can be 0, its tail counts as half the smallest other one.

    Args:
        strata: Of S equally likely ones, 0 to S − 1.
        place: Within them, from 0 up to but not including 1.
        samples: S.
        law: One of `LAWS`.
    """
    tiny = torch.finfo(place.dtype).eps / 4
    if law == "uniform":
        return ((strata + place) / samples).clamp(max=1 - 2 * tiny)
    upper = strata + 0.5 * (place >= 0.5) >= samples / 2  # exact, where strata + place may round
    if law == "sign":
        return torch.where(upper, 1.0, -1.0).to(place.dtype)
    inside = torch.where(upper, 1 - place, place).clamp(min=tiny)
    tail = (torch.where(upper, samples - 1 - strata, strata) + inside) / samples
    normal = torch.special.ndtri(tail)
    return torch.where(upper, -normal, normal)


@dataclass(frozen=True)
class Coupling(Wrapper):
    """The mean of S draws of another estimator on coupled noise; a subclass has the option ``samples`` and `strata`.

    It declares what the estimator declares that it wraps, but for the noise: of its source it asks uniform numbers.

    Attributes:
        of: The estimator that is drawn from.
    """

    def __post_init__(self) -> None:
        """Refuse no samples, and noise that cannot be coupled or is coupled already.

        Raises:
            InputError: With the reason.
        """
        super().__post_init__()
        self.need_noise()
        inner = self.of.declaration
        other = [law for law in inner.laws if law not in (*LAWS, POSTERIOR)]
        if not inner.pure:
            why = "draws its own noise, which nobody else can couple"
        elif other:
            why = f"takes {other[0]} noise; expected {', '.join(LAWS[:-1])} or {LAWS[-1]} noise"
        elif within := [e for e in chain(self.of) if isinstance(e, Coupling)]:
            why = f"is on the coupled noise of '{within[0].declaration.name}' already, and numbers are coupled once"
        else:
            return
        raise InputError(f"{self.named}: estimator '{inner.name}' {why}.")

    @property
    def count(self) -> int:
        """S."""
        return int(self.samples)  # type: ignore[attr-defined]

    @property
    def declaration(self) -> Declaration:
        """The inner estimator's, its laws made of uniform numbers."""
        return replace(super().declaration, laws=("uniform",))

    @property
    def draws_per_gradient(self) -> int:
        """S times the wrapped estimator's."""
        return self.count * self.of.draws_per_gradient

    @abstractmethod
    def strata(self, noise: Noise) -> Strata:
        """How the samples of one draw are coupled, given the noise at the draw's address."""

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """Draw S times, each time on one of the coupled samples.

        Raises:
            CellError: The estimator draws the posterior's own noise, and that has none.
        """
        form = problem.parameterization
        if POSTERIOR in self.of.declaration.laws and not form.noise_laws:
            raise CellError(
                f"{self.named}: the posterior '{form.name}' of problem '{problem.name}' has no noise at all, so that "
                "there is nothing to couple; expected a posterior with noise."
            )
        together = coupled(noise, self.count, self.strata(noise))
        return average(self.of(problem, parameters, batch, own, state) for own in together)
