"""A run as it is compared: its record, and the rows of every cell from its sealed blocks.

A file that does not fit its seal or its address is never used: cells whose rows it had are refused, by name. Blocks are
those that the table of results came from, as its own seal has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from vdbench.errors import CellError
from vdbench.measures import rao_blackwell
from vdbench.measures.few_examples import combine, describe
from vdbench.measures.metrics import LookSchedule, UnitRows
from vdbench.measures.stopping import look_schedule
from vdbench.problems.gaussian import PARAMETERIZATIONS
from vdbench.problems.problem import Group
from vdbench.store import Table, concatenate
from vdbench.suite.schema import Suite

if TYPE_CHECKING:
    import pandas as pd

Key = tuple[str, str, int, str, str]
"""A cell: problem, checkpoint, batch size, label of the estimator, measure."""

ROLES = {
    coordinate: role for one in PARAMETERIZATIONS.values() for coordinate, role in one.roles.items()
}
"""The role of a coordinate of a noisy layer; any other parameter's role is its own name."""


TRAININGS = "training.parquet"
"""The table of all trainings' epochs."""


class NotComparable(CellError):
    """Figures cannot be compared; the message says why, as part of a sentence."""


@dataclass(frozen=True)
class Block:
    """A stored block.

    Attributes:
        address: What it holds.
        values: Its columns.
    """

    address: Mapping[str, Any]
    values: Table

    def same(self, other: Block) -> bool:
        """Whether it is the other, number by number."""
        return self.values.keys() == other.values.keys() and all(
            len(a) == len(b) and bool(((a == b) | ((a != a) & (b != b))).all())  # NaN is NaN
            for a, b in zip(self.values.values(), other.values.values(), strict=True)
        )


@dataclass
class Stored:
    """A run, read.

    Attributes:
        name: What messages and tables call it: the folder's name.
        info: The content of ``run.json``.
        suite: What was run.
        cells: How each cell with figures ended, as the seal of the table has it, or ``run.json``.
        failed: Why the others failed.
        blocks: The blocks that the results came from.
        bad: Files of theirs that are damaged, misplaced or missing, with the reason.
        parameters: The arrays of each checkpoint, by the digest that blocks have of it.
        trainings: What trainings gave, epoch by epoch; None where there are none.
    """

    name: str
    info: dict[str, Any]
    suite: Suite
    cells: dict[Key, dict[str, Any]]
    failed: dict[Key, str]
    blocks: list[Block]
    bad: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    trainings: pd.DataFrame | None = None

    @property
    def estimators(self) -> dict[str, dict[str, Any]]:
        """What it records of each estimator, by label."""
        return dict(self.info.get("estimators") or {})

    @cached_property
    def schedule(self) -> LookSchedule:
        """When its variance cells looked at their intervals."""
        return look_schedule(self.suite)

    @cached_property
    def _by_cell(self) -> dict[Key, list[Block]]:
        found: dict[Key, list[Block]] = {}
        for block in self.blocks:
            place, name = block.address["place"], self.label(block.address["estimator"])
            if name and len(place) == 5:
                key = (place[2], place[3], place[4], name, block.address["measure"])
                found.setdefault(key, []).append(block)
        return found

    def label(self, identity: Sequence[Any]) -> str:
        """How the run calls an estimator that a block's address names; empty for one that it does not list."""
        for name, said in self.estimators.items():
            if _is(said, identity) and said.get("version") == identity[2]:
                return name
        return ""

    def serves(self, problem: str, label: str) -> str:
        """The objective whose gradient an estimator estimates on a problem."""
        objectives = (self.info.get("problems") or {}).get(problem, {}).get("objectives")
        known = objectives if isinstance(objectives, Mapping) else {}
        return str(known.get(label) or self.estimators.get(label, {}).get("objective") or "")

    def of(self, key: Key) -> list[Block]:
        """The blocks of a cell.

        Raises:
            NotComparable: There is none.
        """
        found = self._by_cell.get(key, [])
        if not found:
            raise NotComparable(f"{self.name} has no block of it{self._damage()}")
        return found

    def one(self, key: Key) -> Block:
        """The only block of a cell.

        Raises:
            NotComparable: There is none, or several.
        """
        found = self.of(key)
        if len(found) > 1:
            raise NotComparable(f"{self.name} has {len(found)} blocks of it, and one is expected")
        return found[0]

    def pass_of(self, key: Key) -> Block:
        """The interleaved pass in which an estimator was timed; it may be stored for another one of its group.

        Raises:
            NotComparable: It is not in the folder.
        """
        problem, checkpoint, size, name, measure = key
        for block in self.blocks:
            same = block.address["place"][2:] == [problem, checkpoint, size]
            if same and block.address["measure"] == measure and name in block.values["estimator"]:
                return block
        raise NotComparable(f"{self.name} has no block of it{self._damage()}")

    def units(self, key: Key) -> tuple[UnitRows, Block]:
        """The unit rows of a variance cell, in order, and a block that says where they are from.

        Raises:
            NotComparable: Some are not in the folder, or are damaged.
        """
        problem, checkpoint, size, name, _ = key
        n = int(self.cells[key]["n"])
        spec = self.suite.measures.variance
        if spec and name in spec.rao_blackwell:
            return self._by_preactivations(key, str(spec.data_from), n)
        few = spec and spec.few_examples.get(name)
        own = (*key[:4], "few-examples") if few else key
        table, first = self._joined(own, n)
        if not (spec and few):
            return UnitRows(table, self._sizes(first, table)), first
        source = str(spec.data_from)
        whole, _ = self._joined((problem, checkpoint, size, source, "variance"), n)
        table = combine(table, whole)
        facts = {"examples": few, "batch_size": size, "data_from": source}
        said = describe(few, size, source)
        return UnitRows(table, self._sizes(first, table), said, True, facts), first

    def _by_preactivations(self, key: Key, source: str, n: int) -> tuple[UnitRows, Block]:
        more, first = self._joined((*key[:4], "rao-blackwell"), n)
        whole, _ = self._joined((*key[:3], source, "variance"), n)
        table = rao_blackwell.combine(more, whole)
        facts = {"conditional_on": "pre-activations", "data_from": source}
        said = rao_blackwell.describe(source)
        return UnitRows(table, self._sizes(first, table), said, True, facts), first

    def rows(self, key: Key) -> tuple[UnitRows, Block]:
        """The unit rows of another cell that has all of them in one block."""
        block = self.one(key)
        return UnitRows(block.values, self._sizes(block, block.values)), block

    def _joined(self, key: Key, n: int) -> tuple[Table, Block]:
        blocks = sorted(self.of(key), key=lambda block: list(block.address["units"]))
        done, parts = 0, []
        for block in blocks:
            start, stop = block.address["units"]
            if start >= n:
                break
            if start != done:
                break
            parts.append(block.values)
            done = stop
        if done < n:
            raise NotComparable(
                f"{self.name} lacks units {done} to {n} of {key[3]}{self._damage()}"
            )
        whole = concatenate(parts)
        return {name: values[:n] for name, values in whole.items()}, blocks[0]

    def _sizes(self, block: Block, table: Table) -> dict[Group, int]:
        """How many parameters each layer and role of a table has, by the checkpoint's arrays."""
        groups = list(dict.fromkeys(Group(*name.rsplit("|", 2)[:2]) for name in table))
        found: dict[Group, int] = {}
        for name, value in self.parameters.get(block.address["parameters"], {}).items():
            layer, _, leaf = name.rpartition(".")
            group = Group(layer, ROLES.get(leaf, leaf))
            found[group] = found.get(group, 0) + value.size
        missing = [group for group in groups if group not in found]
        if missing:
            raise NotComparable(
                f"{self.name} does not say how many parameters {missing[0].layer} has"
                f"{self._damage()}"
            )
        return {group: found[group] for group in groups}

    def _damage(self) -> str:
        if not self.bad:
            return ""
        name, why = next(iter(self.bad.items()))
        rest = f", and {len(self.bad) - 1} more" if len(self.bad) > 1 else ""
        return f" ({name}: {why}{rest})"


def _is(said: Mapping[str, Any], identity: Sequence[Any]) -> bool:
    """Whether what a record says of an estimator is what an address says: name, options, and those within."""
    options = said.get("options")
    if not isinstance(options, Mapping) or said.get("name") != identity[0]:
        return False
    if set(options) != set(identity[1]):
        return False
    return all(
        _is(value, identity[1][key]) if _inner(value) else value == identity[1][key]
        for key, value in options.items()
    )


def _inner(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"name", "options"}


def training_blocks(run: Stored, key: Key) -> Iterator[tuple[int, Block]]:
    """The blocks of a cell of whole trainings, seed by seed.

    Their addresses have no name of a problem: they are found by what the table of trainings, which has it, says.

    Raises:
        NotComparable: One is not in the folder.
    """
    problem, _, _, name, _ = key
    frame = run.trainings
    if frame is None:
        raise NotComparable(f"{run.name} has no {TRAININGS}{run._damage()}")
    mine = frame[(frame["problem"] == problem) & (frame["estimator"] == name)]
    for seed, part in mine.groupby("seed"):
        values = part["value"].to_numpy()
        for block in run.blocks:
            address = block.address
            if address["measure"] != "training" or address["training"] != seed:
                continue
            if np.array_equal(block.values["value"], values, equal_nan=True):
                yield int(str(seed)), block
                break
        else:
            raise NotComparable(f"{run.name} has no block of seed {seed}{run._damage()}")
