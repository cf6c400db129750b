"""Mutated suites and odd command lines, the short form; ``make fuzz`` runs the long one."""

from __future__ import annotations

import pytest
from fuzzing import campaign, text


@pytest.mark.alone
@pytest.mark.usefixtures("elsewhere")
def test_only_the_projects_own_error() -> None:
    ended = campaign(seed=0, suites=180, commands=30)
    # time is the long form's to judge: the first problem of a process takes a second in which torch loads
    bad = [entry for entry in ended.bad if entry[1] != "over a second"]
    assert not bad, f"{text(ended)}\n{bad[:3]}"
    outcomes = {outcome for _, outcome in ended.table}
    assert outcomes - {"over a second"} == {"accepted", "refused"}
