"""What two figures must have in common to be compared, and which of it differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vdbench.comparison.stored import Block, Key, NotComparable, Stored
from vdbench.errors import shown
from vdbench.noise import TORCH

AGREE = {
    "measure_version": "the measure's version",
    "objective": "the objective",
    "precision": "the precision",
    "device": "the device",
    "batch_size": "the batch size",
    "parameters": "the checkpoint's parameters",
    "draws": "the draws of a unit",
    "reference": "the reference estimator",
    "plan": "the plan of training",
    "ranked": "the execution mode",
}
"""Keys of a block's address that must be the same, as messages call them; the problem comes first."""

SAID = {
    "parameterization": "the coordinates",
    "posterior": "the posterior",
    "prior": "the prior",
    "likelihood": "the likelihood",
    "dataset": "the data set",
    "examples": "the number of training examples",
    "test_examples": "the number of test examples",
    "description": "the network",
}
"""What a record says of a problem, as messages call it: says how problems with different fingerprints differ."""

MACHINE = {
    "the device": ("environment", "device", "name"),
    "the number of usable cores": ("environment", "cpu", "usable_cores"),
    "the instruction set": ("environment", "torch", "cpu_capability"),
    "the number of threads": ("threads",),
}
"""What times and sizes in memory depend on, and where ``run.json`` has it."""

NOTED = {
    "vdbench": ("versions", "vdbench"),
    "commit": ("git", "vdbench", "commit"),
    "torch": ("versions", "torch"),
    "numpy": ("versions", "numpy"),
    "seed": ("seed",),
    **{name.removeprefix("the "): place for name, place in MACHINE.items()},
}
"""What is noted of two runs where it differs."""


def check(base: Stored, new: Stored, keys: tuple[Key, Key], blocks: tuple[Block, Block]) -> None:
    """See that two cells measured the same thing.

    Args:
        base: The base run.
        new: The new run; may be the same.
        keys: Of the cells.
        blocks: One of each.

    Raises:
        NotComparable: They did not; says what differs.
    """
    one, two = (block.address for block in blocks)
    if one["problem"] != two["problem"]:
        raise NotComparable(_problems(base, new, keys))
    for key, name in AGREE.items():
        if one.get(key) == two.get(key):
            continue
        if key == "parameters":
            raise NotComparable(
                "the checkpoint's parameters differ: both must be measured at the same trained weights"
            )
        raise NotComparable(differs(name, one.get(key), two.get(key)))
    mine, theirs = (run.serves(key[0], key[3]) for run, key in zip((base, new), keys, strict=True))
    if mine != theirs:
        raise NotComparable(differs("the objective that the gradient belongs to", mine, theirs))


def differs(name: str, base: Any, new: Any) -> str:
    """Say that something differs, and how."""
    return f"{name} differs: {_plain(base)} and {_plain(new)}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) and value.isprintable() else shown(value)


def _problems(base: Stored, new: Stored, keys: tuple[Key, Key]) -> str:
    """Say how two problems of one name differ, as far as the records do."""
    one, two = (
        (run.info.get("problems") or {}).get(key[0]) or {}
        for run, key in zip((base, new), keys, strict=True)
    )
    for key, name in SAID.items():
        if one.get(key) != two.get(key):
            return differs(f"the problem differs: {name}", one.get(key), two.get(key))
    return "the problem differs: its data, its network or its code is not the same"


def machine(base: Stored, new: Stored) -> None:
    """See that two runs were on one kind of machine.

    Raises:
        NotComparable: They were not.
    """
    for name, place in MACHINE.items():
        one, two = at(base.info, place), at(new.info, place)
        if one != two:
            raise NotComparable(differs(name, one, two))


def noted(base: Stored, new: Stored) -> list[str]:
    """What else differs between two runs, in words."""
    found = []
    for name, place in NOTED.items():
        one, two = at(base.info, place), at(new.info, place)
        if one != two:
            found.append(f"{name}: {_short(one)} and {_short(two)}")
    ways = [at(run.info, ("suite", "noise")) or TORCH for run in (base, new)]
    return found if ways[0] == ways[1] else [*found, f"noise: {ways[0]} and {ways[1]}"]


def _short(value: Any) -> str:
    text = "unknown" if value is None else _plain(value)
    return text[:12] if len(text) == 40 and text.isalnum() else text


def at(content: Any, place: Sequence[str]) -> Any:
    """What a record has at a path; None where there is nothing."""
    for key in place:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def shared(blocks: tuple[Block, Block]) -> bool:
    """Whether two cells have the same noise: units of the same number are then paired."""
    one, two = ((block.address["place"], block.address.get("noise")) for block in blocks)
    return bool(one == two)
