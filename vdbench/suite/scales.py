"""Sizes of one suite: ``scales`` names changes to it, ``scale`` the one that is run.

A suite is written at its full size. ``--set scale=small`` makes the changes that it gives under ``scales.small``, each
what a ``--set key=value`` would make, before anything is validated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vdbench.errors import InputError, nearest, shown
from vdbench.suite.overrides import change, parted, put

FULL = "full"
"""The suite as it is written."""


def changed(where: str, content: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Make the changes of the scale that is chosen, then the others that the command line asks for.

    Args:
        where: The suite, for messages.
        content: What it says; changed in place.
        settings: ``key=value`` changes.

    Returns:
        The suite at its scale. ``scale`` says which; ``scales`` holds nothing that is still to be done, so that a
        recorded suite is read again as it was.

    Raises:
        InputError: There is no such scale, or a change cannot be made.
    """
    first = [s for s in settings if parted(s)[0].split(".")[0] in ("scale", "scales")]
    for setting in first:
        change(content, setting)
    scales, name = _checked(where, content.get("scales")), content.get("scale", FULL)
    if name != FULL:
        if not isinstance(name, str) or name not in scales:
            raise InputError(
                f"{where}: there is no scale '{name}'.{nearest(str(name), [FULL, *scales])}"
            )
        for key, value in scales[name].items():
            put(content, key, value, f"{where}: scales.{name}: {key}")
    content.pop("scales", None)
    if name != FULL:
        content["scales"] = {name: {}}
    for setting in settings:
        if setting not in first:
            change(content, setting)
    return content


def names(content: dict[str, Any]) -> list[str]:
    """The scales of a suite, ``full`` first."""
    scales = content.get("scales")
    return [FULL, *(scales if isinstance(scales, dict) else [])]


def _checked(where: str, scales: Any) -> dict[str, dict[str, Any]]:
    """The scales, if they are names with changes.

    Raises:
        InputError: They are not.
    """
    if scales is None:
        return {}
    if not isinstance(scales, dict):
        raise InputError(
            f"{where}: scales: expected names with changes, such as {{small: {{seed: 1}}}}, not {shown(scales)}."
        )
    for name, changes in scales.items():
        if name == FULL or not isinstance(name, str):
            raise InputError(
                f"{where}: scales: '{name}' cannot be the name of a scale; '{FULL}' is the suite as it is written."
            )
        if not isinstance(changes, dict) or not all(isinstance(key, str) for key in changes):
            raise InputError(
                f"{where}: scales.{name}: expected dotted keys with values, such as measures.training.epochs: 5, "
                f"not {shown(changes)}."
            )
        for key in changes:
            if key.split(".")[0] in ("scale", "scales"):
                raise InputError(f"{where}: scales.{name}: a scale cannot change '{key}'.")
    return scales
