"""Which rows of a run stand together: those of a place, whatever its checkpoint is called, and those of trainings."""

from __future__ import annotations

from pathlib import Path

from reports.results.groups import groups_of, whole
from reports.results.load import load
from reports.results.trainings import trainings_of

SMALL = Path(__file__).parents[3] / "docs" / "results" / "small"


def test_a_checkpoint_called_trained_has_places() -> None:
    results = load([SMALL / "stl-landing"])
    named = {group.checkpoint for group in groups_of(results)}
    assert "trained" in named
    assert named == set(results.frame["checkpoint"])
    assert not trainings_of(results)


def test_whole_trainings_have_tables_of_their_own() -> None:
    results = load([SMALL / "binary-dropout"])
    rows = results.frame[whole(results.frame)]
    assert set(rows["checkpoint"]) == {"trained"}
    assert trainings_of(results)
    assert "trained" not in {group.checkpoint for group in groups_of(results)}
