"""Nothing that happens to stored files or to the system changes a figure: one fault of each kind.

The long form is ``make faults``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fault_campaign import GOOD, Campaign, table
from fault_kinds import KINDS, SLOW, SYSTEM

SHORT = [
    "blocks: swapped", "blocks: edited", "blocks: another's", "blocks: truncated",
    "checkpoints: swapped", "checkpoints: bit flipped", "cache: edited", "training: bytes overwritten",
    "results.parquet: edited", "run.json: truncated", "run.json: removed",
    *(kind for kind in SYSTEM if kind not in (*SLOW, "system: disk full once")),
]  # fmt: skip
"""Kinds of the short form."""

LONGER = [
    "blocks: emptied", "checkpoints: edited", "cache: truncated", "system: disk full once",
]  # fmt: skip
"""Kinds like some of those, which ``make long`` has."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    """The runs that were not disturbed."""
    return Campaign(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize(
    "kind", [*SHORT, *(pytest.param(kind, marks=pytest.mark.long) for kind in LONGER)]
)
def test_a_fault_is_seen_and_healed(kind: str, made: Campaign) -> None:
    found = made.disturb(kind, [*SHORT, *LONGER].index(kind))
    assert found.outcome in GOOD, found
    if kind not in SYSTEM and "removed" not in kind:
        assert found.named, "the file was not named"


@pytest.mark.long
@pytest.mark.parametrize("kind", [kind for kind in SLOW if kind in KINDS])
def test_a_fault_of_processes_or_clocks_is_healed(kind: str, made: Campaign) -> None:
    found = made.disturb(kind, 0)
    assert found.outcome in GOOD, found


@pytest.mark.long
def test_a_figure_that_is_wrong_is_found_out(
    made: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The campaign can fail: without checks, a block of another estimator changes figures."""
    from vdbench.store import seals, tables

    monkeypatch.setattr(seals, "same_place", lambda *_: None)
    monkeypatch.setattr(tables, "check", lambda content, seal, asked: content)
    outcomes = (made.disturb("blocks: another's", number).outcome for number in range(40))
    assert any(outcome == "silently wrong" for outcome in outcomes)


def test_the_table_has_every_kind(made: Campaign) -> None:
    found = made.disturb("blocks: removed", 0)
    assert table([found]).splitlines()[1].split()[:4] == ["blocks:", "removed", "1", "0"]
    assert {*SHORT, *LONGER} <= set(KINDS)
