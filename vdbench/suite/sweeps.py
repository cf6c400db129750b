"""Problems that differ in one key, written as one: ``sweep`` names the key and its values.

``sweep: {key: options.widths, axis: units, values: {100: [100, 100], 250: [250, 250]}}`` of a problem ``a`` stands
for the problems ``a-100`` and ``a-250``, of the group ``a`` at x = 100 and 250. A list of numbers is its own x.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pydantic

from vdbench import limits
from vdbench.errors import InputError, nearest, shown
from vdbench.suite.overrides import put
from vdbench.suite.schema import SweepSpec


def spread(where: str, problems: Sequence[Any]) -> list[Any]:
    """Write out the problems that have a sweep.

    Args:
        where: The suite, for messages.
        problems: As the suite has them; what is no mapping is left to be refused.

    Raises:
        InputError: A sweep is not valid.
    """
    found: list[Any] = []
    size, most = 0, limits.limits()
    for place, problem in enumerate(problems):
        if isinstance(problem, dict) and problem.get("sweep") is not None:
            at = f"{where}: problems.{place}.sweep"
            sweep = _checked(at, problem["sweep"])
            size += (
                len(sweep.values) * len(str(problem)) // 8
            )  # a key or a value is some 8 characters
            limits.within(at, "problems", len(found) + len(sweep.values), most.problems)
            limits.within(at, "keys and values, sweeps written out", size, most.nodes)
            found += _each(at, problem, sweep)
        elif isinstance(problem, dict):  # sweep: null is none
            found.append({key: value for key, value in problem.items() if key != "sweep"})
        else:
            found.append(problem)
    return found


def _each(where: str, problem: dict[str, Any], sweep: SweepSpec) -> list[dict[str, Any]]:
    rest = {key: value for key, value in problem.items() if key != "sweep"}
    name = str(rest.get("name", ""))
    found = []
    for x, value in sweep.points:
        one = copy.deepcopy(rest)
        put(one, sweep.key, copy.deepcopy(value), where)
        one |= {"name": f"{name}-{x:g}", "group": name, "axis": sweep.axis or _last(sweep), "x": x}
        found.append(one)
    return found


def _last(sweep: SweepSpec) -> str:
    return sweep.key.split(".")[-1]


def _checked(where: str, written: Any) -> SweepSpec:
    try:
        return SweepSpec.model_validate(written)
    except pydantic.ValidationError as error:
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    place = [str(part) for part in first["loc"]]
    if place == ["key"] and first["type"] == "string_pattern_mismatch":
        raise InputError(
            f"{where}: key: expected one below options or training, such as options.widths, "
            f"not {shown(first['input'])}."
        )
    if not place:
        raise InputError(f"{where}: expected key, axis and values, not {shown(written)}.")
    if first["type"] == "extra_forbidden":
        raise InputError(
            f"{where}: unknown key '{place[-1]}'.{nearest(place[-1], SweepSpec.model_fields)}"
        )
    if first["type"] == "missing":
        raise InputError(f"{where}: key '{place[-1]}' is missing.")
    if place[:1] == ["values"]:
        raise InputError(
            f"{where}: values: expected a list of numbers, or numbers with a value each, such as "
            "{100: [100, 100], 250: [250, 250]}."
        )
    raise InputError(f"{where}: {'.'.join(place)}: {first['msg']}, not {shown(first['input'])}.")
