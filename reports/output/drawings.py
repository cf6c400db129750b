"""Drawings as parts of a page: short, in the page's colours, and no more than a page should hold."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

INKS = {
    "#2b2b2b": "ink", "#262626": "ink", "#000000": "ink", "#8a8a8a": "soft", "#9a9a9a": "soft", "#cccccc": "line",
    "#e6e6e6": "line", "#ffffff": "paper",
}  # fmt: skip
"""Colours of the drawings that follow the page's, light or dark."""
SHADES = {
    "paper": ("#ffffff", "#15191d"), "ink": ("#1d2126", "#e4e7ea"), "soft": ("#5c6570", "#9aa4af"),
    "line": ("#d9dee4", "#3a424b"), "tint": ("#f4f6f8", "#1e242a"), "accent": ("#0062a0", "#6cb8e6"),
}  # fmt: skip
"""The page's colours by name: light and dark."""
MOST = 1_900_000
"""Letters that the drawings of a page may take together; those that come later are files beside it."""
ATTRIBUTES = re.compile(r' (?:d|x|y|points|transform|width|height)="[^"<]*"')
LONG = re.compile(r"(\d\.\d\d)\d+")


def embedded(drawings: Mapping[str, str]) -> dict[str, str]:
    """Pack drawings as addresses of data, the first ones of a report that a page has room for.

    Args:
        drawings: SVG text by name, in the report's order.

    Returns:
        Data by name; a name that is not here is that of a file beside the page.
    """
    found: dict[str, str] = {}
    room = MOST
    for name, svg in drawings.items():
        packed = data_uri(svg)
        room -= len(packed)
        if room < 0:
            break
        found[name] = packed
    return found


def data_uri(svg: str) -> str:
    """Pack an SVG into the page; as an image of its own, its names cannot clash with others'."""
    packed = base64.b64encode(shaded(shortened(svg)).encode("utf-8")).decode("ascii")
    return f"data:image/svg+xml;base64,{packed}"


def shortened(svg: str) -> str:
    """Leave out what a screen cannot show: places beyond a hundredth of a point, and line breaks."""
    svg = ATTRIBUTES.sub(lambda hit: LONG.sub(r"\1", hit[0]).replace("\n", " "), svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    return re.sub(r">\s+<", "><", svg)


def shaded(svg: str) -> str:
    """Let the ink and the paper of a drawing follow the page's, dark where a reader prefers that."""
    rules = {
        place: "".join(f"--{name}:{shades[place]};" for name, shades in SHADES.items())
        for place in (0, 1)
    }
    style = f"<style>:root{{{rules[0]}}}@media screen and (prefers-color-scheme:dark){{:root{{{rules[1]}}}}}</style>"
    for colour, name in INKS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return re.sub(r"(<svg\b[^>]*>)", lambda hit: hit[0] + style, svg, count=1)
