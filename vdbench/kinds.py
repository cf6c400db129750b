"""A thing of one of several kinds, as a suite writes it: a name, or a mapping with the name under ``kind``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from vdbench.errors import InputError, nearest

T = TypeVar("T")


def build(what: str, kinds: Mapping[str, type[T]], spec: object) -> T:
    """Build what a suite asks for.

    Args:
        what: What it is, for messages: ``prior``.
        kinds: A dataclass for each name.
        spec: ``'gaussian'``, or ``{'kind': 'gaussian', 'variance': 1.0}`` with options beside the name.

    Raises:
        InputError: The form, the name or an option is not one there is.
    """
    options = {"kind": spec} if isinstance(spec, str) else spec
    if not isinstance(options, Mapping) or not isinstance(options.get("kind"), str):
        raise InputError(
            f"{what}: got {spec!r}, expected a name or a mapping with a name under 'kind'.{nearest('', kinds)}"
        )
    kind = options["kind"]
    if kind not in kinds:
        raise InputError(f"{what} '{kind}' is unknown.{nearest(kind, kinds)}")
    cls: Any = kinds[kind]
    known = [item.name for item in dataclasses.fields(cls)]
    given = {str(key): value for key, value in options.items() if key != "kind"}
    for key in given:
        if key not in known:
            hint = nearest(key, known) if known else " It has none."
            raise InputError(f"{what} '{kind}' has no option '{key}'.{hint}")
    made: T = cls(**given)
    return made
