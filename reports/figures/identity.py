"""The sign of an estimator: one colour and one shape, by its label alone, in every report.

A label that is listed here has the pair of its place: the family gives the hue, the place in it lightness and shape.
Lists only ever grow at their end, so a pair never changes. The sign of any other label comes from a hash of it: its
family's hue, or any hue where its name is of no family.
"""

from __future__ import annotations

import colorsys
import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any

SHAPES: dict[str, Any] = {
    "circle": "o", "square": "s", "triangle": "^", "diamond": "D", "inverted_triangle": "v",
    "star": "*", "plus": "P", "hex": "h", "square_pin": (4, 1, 0),
}  # fmt: skip
"""Shapes by their names in Bokeh, with matplotlib's name of the same."""
LUMINANCES = (0.14, 0.27)
"""Relative luminance of a family's dark and light colour: at least 3:1 against white and against a dark page."""
GREY, FULL = 0.0, 0.85
"""Saturations."""
SPREAD = 14.0
"""How far, in degrees, the hue of an unlisted label may be from its family's."""


@dataclass(frozen=True)
class Sign:
    """What an estimator is drawn as.

    Attributes:
        colour: ``#rrggbb``.
        shape: A name in `SHAPES`.
    """

    colour: str
    shape: str

    @property
    def marker(self) -> Any:
        """The shape as a marker of matplotlib."""
        return SHAPES[self.shape]


@dataclass(frozen=True)
class Family:
    """Estimators of one kind, which share a hue.

    Attributes:
        hue: In degrees.
        labels: The listed labels, at most twice as many as there are shapes; new ones go to the end.
        saturation: Of its colours.
    """

    hue: float
    labels: tuple[str, ...]
    saturation: float = FULL


FAMILIES = (
    Family(0, ("deterministic",), GREY),
    Family(212, ("naive", "per-example", "grouped", "grouped(groups=8)", "per-layer")),
    Family(140, ("local", "moment-matching", "fast-dropout", "type-a", "deterministic-vi")),
    Family(182, ("flipout", "flipout(perturbations=4)")),
    Family(262, ("antithetic", "antithetic(naive)", "antithetic(local)", "antithetic(flipout)")),
    Family(300, (
        "samples", "samples(local, samples=4)", "samples(naive, samples=4)", "samples(naive, samples=2)",
        "samples(local, samples=50)", "samples(naive, samples=50)", "samples(measure-valued, samples=50)",
        "samples(local)", "samples(naive)", "samples(antithetic(naive))", "samples(antithetic(local))",
    )),
    Family(28, (
        "sobol", "sobol(naive)", "sobol(local, samples=4)", "sobol(naive, samples=4)", "latin-hypercube",
        "latin-hypercube(naive)", "latin-hypercube(local, samples=4)", "latin-hypercube(naive, samples=4)",
    )),
    Family(54, (
        "control-variate", "control-variate(naive)", "control-variate(local)",
        "control-variate(score, kind=delta)", "sticking-the-landing", "sticking-the-landing(naive)",
    )),
    Family(4, (
        "score", "score(baseline=leave-one-out, samples=4)", "score(baseline=leave-one-out, samples=50)",
        "score(baseline=optimal, samples=4)", "score(samples=4)", "score(samples=50)", "score-local",
        "score-local(baseline=leave-one-out, samples=4)", "score-local(samples=4)", "measure-valued",
        "score(baseline=leave-one-out)", "score(baseline=leave-one-out, samples=2)",
    )),
    Family(335, (
        "reinforce", "rloo", "rloo(samples=4)", "arm", "disarm", "rebar", "concrete", "straight-through",
        "reinforce(baseline=moving-average)", "rebar(eta=fitted)", "double-control-variate",
        "straight-through-gumbel", "straight-through-gumbel(slopes=8)", "relax", "arms", "rodeo", "sum-and-sample",
    )),
    Family(84, (
        "forward-gradient", "forward-gradient(directions=16)", "activity-perturbation",
        "activity-perturbation(naive)", "activity-perturbation(local)",
        "activity-perturbation(local, directions=16)", "spsa", "evolution-strategies",
    )),
    Family(236, (
        "price-hessian", "price-hessian(probes=4)", "price-hessian(smooth=True)",
        "price-hessian(probes=4, smooth=True)", "gradsq", "gradsq(squares=examples)",
    )),
    Family(112, (
        "svrg", "svrg(naive)", "svrg(naive, control=fixed)", "svrg(naive, control=stored)",
        "svrg(naive, distance=1)", "joint-control-variate", "joint-control-variate(naive)",
        "joint-control-variate(naive, distance=0.3)", "joint-control-variate(naive, distance=1)",
        "joint-control-variate(naive, distance=3)", "quadratic-control-variate",
        "ensemble-control-variate(naive, model=quadratic-control-variate, taylor=control-variate(naive))",
    )),
)  # fmt: skip
"""Estimators by family. Listed labels keep their places for good."""


@cache
def sign(label: str) -> Sign:
    """Return the sign of an estimator.

    Args:
        label: Its label, such as ``local`` or ``score(samples=4)``.

    Returns:
        Its colour and shape, which depend on nothing else.
    """
    listed = _listed()
    return listed[label] if label in listed else _hashed(label)


@cache
def _listed() -> dict[str, Sign]:
    """Give each listed label the pair of its place: neighbours in a family differ in lightness and in shape."""
    found = {}
    names = list(SHAPES)
    for family in FAMILIES:
        for place, label in enumerate(family.labels):
            # nine shapes and two levels have no common factor: eighteen places, eighteen pairs
            shade = colour(family.hue, family.saturation, LUMINANCES[place % len(LUMINANCES)])
            # shapes begin elsewhere in each family, so that first members differ in both
            found[label] = Sign(shade, names[(place + FAMILIES.index(family)) % len(names)])
    return found


def _hashed(label: str) -> Sign:
    """Take hue, lightness and shape of a label that is not listed from its hash."""
    word = hashlib.sha256(label.encode()).digest()
    parts = [int.from_bytes(word[4 * i : 4 * i + 4]) / 2**32 for i in range(3)]
    name = label.partition("(")[0]
    family = next((f for f in FAMILIES if any(name == x.partition("(")[0] for x in f.labels)), None)
    hue = 360 * parts[0] if family is None else family.hue + SPREAD * (2 * parts[0] - 1)
    saturation = FULL if family is None else family.saturation
    low, high = LUMINANCES
    shade = colour(hue % 360, saturation, low + (high - low) * parts[1])
    return Sign(shade, list(SHAPES)[int(parts[2] * len(SHAPES))])


def colour(hue: float, saturation: float, level: float) -> str:
    """Return the colour of a hue and saturation (HLS) that has a relative luminance."""
    low, high = 0.0, 1.0
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if luminance(_hex(hue, middle, saturation)) < level else (low, middle)
        )
    return _hex(hue, high, saturation)


def _hex(hue: float, lightness: float, saturation: float) -> str:
    rgb = colorsys.hls_to_rgb(hue / 360, lightness, saturation)
    return "#" + "".join(f"{round(255 * x):02x}" for x in rgb)


def luminance(colour: str) -> float:
    """Return the relative luminance of ``#rrggbb`` (WCAG 2)."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21 (WCAG 2)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
