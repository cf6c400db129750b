"""Explicit, addressed noise: every random number belongs to the address of what it is for.

Nothing in vdbench draws from a global generator. A stream is a pure function of its `Key` (suite seed,
problem, checkpoint, minibatch, draw, layer), its law and its shape, so figures do not depend on the order of
work, on the number of workers or on a resumption; and two estimators that ask for the same shape at the same
address get the same numbers (common random numbers), while requests of different shapes are independent.

A key says how its numbers are made (`Key.noise`):

- ``torch``: by torch's generator, seeded with a hash of the address. On a CPU it takes 32 bits of the seed, so that two
  given streams of one shape coincide by chance with probability 2⁻³²: among 65,536 of them one pair in two runs, which
  is nothing to a mean over them. A GPU has other numbers than a CPU.
- ``philox``: by counter (`vdbench.kernels.philox`), the same words everywhere, and the same numbers up to rounding on
  every device, in every precision and on every machine. The address is the counter: the last two whole numbers of a
  path, such as a unit's and a draw's, are words of it; so draws of one cell never overlap. The rest of the address is
  96 bits of a hash. The numbers of many draws are made in one call.

An estimator is handed a `Noise` and calls it: ``noise(layer.name, shape)``. Three sources stand behind it:
`Stream` draws, `Recorder` draws and remembers what was asked for, `Injected` hands out given tensors, which is how
draws are vectorised, how CPU and GPU are compared on the same numbers, and how gradients are traced on
fake tensors. Coupled samples are asked for together: `antithetic` makes of one noise the pair ±noise, whose second
half hands out the negatives of what the first half was given, so that every address is asked for once.
"""

from __future__ import annotations

import functools
import hashlib
import math
import numbers
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from vdbench.errors import InputError, nearest
from vdbench.kernels import philox

TORCH, PHILOX = NOISES = ("torch", "philox")
"""How numbers are made: by torch's generator, or by counter."""


@dataclass(frozen=True)
class Key:
    """The address of a random stream: a path of strings and integers, extended with ``/``.

    Attributes:
        path: Its parts, outermost first.
        noise: How the numbers at it and below are made: one of `NOISES`. `seed` does not depend on it.

    Example:
        >>> from vdbench import Key
        >>> (Key() / "seed" / 0 / "draw" / 1).seed() == Key(("seed", 0, "draw", 1)).seed()
        True
    """

    path: tuple[str | int, ...] = ()
    noise: str = TORCH

    def __post_init__(self) -> None:
        """Refuse a way that there is not.

        Raises:
            InputError: With the nearest one.
        """
        if self.noise not in NOISES:
            raise InputError(f"noise '{self.noise}' is unknown.{nearest(self.noise, NOISES)}")

    def __truediv__(self, part: str | int) -> Key:
        """The address one level below."""
        return Key((*self.path, part), self.noise)

    @property
    def mark(self) -> dict[str, str]:
        """What an address says of it beside its path: ``noise``, where it is not torch's generator that makes it."""
        return {} if self.noise == TORCH else {"noise": self.noise}

    def seed(self) -> int:
        """A 63-bit seed that depends on every part of the path and its order; 1 and "1" are other parts."""
        return _seed(_text(self.path))


@functools.lru_cache(maxsize=2**14)
def _text(path: tuple[str | int, ...]) -> str:
    return _joined(path)


def _joined(path: Sequence[str | int | None]) -> str:
    return "\x1f".join(f"{_kind(part)}:{_escaped(part)}" for part in path)


def _kind(part: object) -> str:
    """The name of a part's type; equal whole numbers are one part, whatever their types."""
    return "int" if isinstance(part, numbers.Integral) else type(part).__name__


def _seed(text: str) -> int:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _escaped(part: str | int | None) -> str:
    """The part's text without the separator of parts, so that no name imitates a path."""
    text = str(int(part)) if isinstance(part, numbers.Integral) else str(part)
    return text.replace("\\", "\\\\").replace("\x1f", "\\x1f")


def _normal(out: Tensor, generator: torch.Generator) -> Tensor:
    return out.normal_(generator=generator)


def _uniform(out: Tensor, generator: torch.Generator) -> Tensor:
    return out.uniform_(generator=generator)


def _sign(out: Tensor, generator: torch.Generator) -> Tensor:
    bits = torch.empty(-(-out.numel() // 64), dtype=torch.int64, device=out.device)
    return philox.signs_of_bits(bits.random_(-(2**63), None, generator=generator), out)


LAWS = {"normal": _normal, "uniform": _uniform, "sign": _sign}
"""The laws a stream can follow: N(0, 1), U[0, 1), and ±1 with equal probability."""

POSTERIOR = "posterior"
"""Declared instead of a law by an estimator that draws the posterior's own noise, of whatever law that is."""

SYMMETRIC = ("normal", "sign")
"""The laws that are symmetric about 0: the negative of such a number follows the same law."""


class Request(NamedTuple):
    """What an estimator asked of its noise: an address below its root, a shape and a law."""

    path: tuple[str | int, ...]
    shape: tuple[int, ...]
    law: str


class Source(Protocol):
    """Where numbers come from, given what is asked for."""

    def __call__(self, request: Request) -> Tensor:
        """Return a tensor of ``request.shape``."""
        ...


@dataclass(frozen=True)
class Noise:
    """The noise of one draw, as an estimator sees it: a source and the path walked below its root.

    Attributes:
        source: Where numbers come from; `stream` makes the usual one from a `Key`.
        path: What was passed to `at` so far.

    Example:
        >>> from vdbench import Key
        >>> from vdbench.noise import stream
        >>> noise = stream(Key(("seed", 0, "draw", 1)))
        >>> noise("fc1", (16, 10)).shape
        torch.Size([16, 10])
        >>> bool((noise("fc1", (3,)) == noise("fc1", (3,))).all())
        True
        >>> bool((noise.at("sample", 1)("fc1", (3,)) == noise("fc1", (3,))).any())
        False
    """

    source: Source
    path: tuple[str | int, ...] = ()

    def at(self, *parts: str | int) -> Noise:
        """The noise one or more levels below, for example of one sample: ``noise.at("sample", s)``."""
        return Noise(self.source, (*self.path, *parts))

    def __call__(
        self, name: str, shape: tuple[int, ...] | torch.Size, law: str = "normal"
    ) -> Tensor:
        """Independent numbers of one law.

        Args:
            name: What they are for, usually a layer's name; the same name, shape and law give the same numbers.
            shape: The shape wanted.
            law: One of `LAWS`.

        Raises:
            InputError: The law is unknown.
        """
        if law not in LAWS:
            raise InputError(f"noise law '{law}' is unknown.{nearest(law, LAWS)}")
        return self.source(Request((*self.path, name), tuple(shape), law))


def draw(key: Key, request: Request, out: Tensor) -> Tensor:
    """Fill ``out`` with the stream of ``request`` below ``key``; on a GPU the numbers are made there.

    Args:
        key: Root of the address.
        request: The rest of it, with the law.
        out: Contiguous; of the request's shape, unless more or fewer numbers of the stream are wanted.
    """
    return draws([key], request, out[None])[0]


def draws(keys: Sequence[Key], request: Request, out: Tensor) -> Tensor:
    """Fill each of K rows with the stream of ``request`` below its key, as `draw` does; by counter all in one call.

    Args:
        keys: K roots.
        request: The rest of the address, with the law.
        out: Contiguous, (K, …).
    """
    if keys and keys[0].noise == PHILOX:  # a cell's keys are of one kind
        streams = torch.tensor([_stream(key, request) for key in keys])
        philox.LAWS[request.law](streams, out.view(len(keys), math.prod(out.shape[1:])))
        return out
    generator = torch.Generator(device=out.device)  # a seed sets all of its state
    fill, below = LAWS[request.law], f"\x1f{_below(request)}"
    for row, key in zip(out, keys, strict=True):
        generator.manual_seed(_seed(_text(key.path) + below))
        fill(row, generator)
    return out


def _stream(key: Key, request: Request) -> tuple[int, ...]:
    """The address as a stream of `vdbench.kernels.philox`: two words of hash, one more, and two whole numbers."""
    rest: list[str | int | None] = [*key.path, *request.path]
    held: list[int] = []
    for place in reversed(range(len(rest))):
        part = rest[place]
        if isinstance(part, numbers.Integral) and 0 <= part <= philox.WORD:
            rest[place] = None  # no part of a path is None: this marks where the numbers were
            held.insert(0, int(part))
            if len(held) == 2:
                break
    return *_hashed(tuple(rest), request.law, request.shape), *held, *(0,) * (2 - len(held))


@functools.lru_cache(maxsize=2**14)
def _hashed(
    rest: tuple[str | int | None, ...], law: str, shape: tuple[int, ...]
) -> tuple[int, ...]:
    text = _joined((*rest, law, _size(shape)))
    return struct.unpack("<3I", hashlib.blake2b(text.encode(), digest_size=12).digest())


@functools.lru_cache(maxsize=2**14)
def _below(request: Request) -> str:
    """The text of a request's part of the address: path, law and shape."""
    return _text((*request.path, request.law, _size(request.shape)))


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


@dataclass(frozen=True)
class Stream:
    """Draws from the streams below one key."""

    key: Key
    device: torch.device
    dtype: torch.dtype

    def __call__(self, request: Request) -> Tensor:
        """Draw what is asked for."""
        return draw(
            self.key, request, torch.empty(request.shape, device=self.device, dtype=self.dtype)
        )


@dataclass(frozen=True)
class Recorder:
    """Passes requests on to another source and remembers them in order, for a trace."""

    source: Source
    requests: list[Request] = field(default_factory=list)

    def __call__(self, request: Request) -> Tensor:
        """Remember the request, then answer it."""
        self.requests.append(request)
        return self.source(request)


@dataclass(frozen=True)
class Injected:
    """Hands out tensors given beforehand, by request."""

    values: Mapping[Request, Tensor]

    def __call__(self, request: Request) -> Tensor:
        """Look the request up.

        Raises:
            KeyError: It was not among those given: the estimator asked for other noise than in its trace.
        """
        return self.values[request]


@dataclass(frozen=True)
class Kept:
    """Passes requests on to another source and keeps the answers, for a sample that is coupled to this one."""

    source: Source
    answers: dict[Request, Tensor] = field(default_factory=dict)

    def __call__(self, request: Request) -> Tensor:
        """Ask for it, whether it was asked for before or not: a trace sees every request."""
        self.answers[request] = self.source(request)
        return self.answers[request]


@dataclass(frozen=True)
class Repeated:
    """Asks another source once for each request, and gives the same answer every time after.

    Shapes that differ in dimensions of 1 alone are the same request: a sign of an example and feature is the same
    whether the layer is given (M, features) or (M, places, features).
    """

    source: Source
    answers: dict[tuple[Any, ...], Tensor] = field(default_factory=dict)

    def __call__(self, request: Request) -> Tensor:
        """Ask for it, unless it was asked for before."""
        key = (request.path, request.law, tuple(n for n in request.shape if n != 1))
        if key not in self.answers:
            self.answers[key] = self.source(request)
        return self.answers[key].reshape(request.shape)


@dataclass(frozen=True)
class Negated:
    """Hands out the negatives of tensors given beforehand, by request."""

    values: Mapping[Request, Tensor]

    def __call__(self, request: Request) -> Tensor:
        """Look the request up.

        Raises:
            KeyError: It was not among those given: what is asked for depends on the numbers drawn.
        """
        return -self.values[request]


def antithetic(noise: Noise) -> tuple[Noise, Noise]:
    """The pair ±noise; the first half is to be used up before the second, which asks the source for nothing.

    Both halves have the law of the noise where that is symmetric about 0 (`SYMMETRIC`). The first half's numbers are
    held for as long as the pair is.

    Example:
        >>> plus, minus = antithetic(stream(Key() / "example"))
        >>> bool((plus("layer", (3,)) == -minus("layer", (3,))).all())
        True
    """
    kept = Kept(noise.source)
    return Noise(kept, noise.path), Noise(Negated(kept.answers), noise.path)


def stream(
    key: Key, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Noise:
    """The noise of one draw, drawn as it is asked for.

    Example:
        >>> noise = stream(Key() / "example")
        >>> bool((noise("layer", (3,)) == noise("layer", (3,))).all())
        True
    """
    return Noise(Stream(key, torch.device(device), dtype))
