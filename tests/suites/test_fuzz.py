"""Mutated suites and odd command lines, the short form; ``make fuzz`` runs the long one."""

from __future__ import annotations

import pytest
from fuzzing import campaign, text


@pytest.mark.alone
@pytest.mark.usefixtures("elsewhere")
def test_only_the_projects_own_error() -> None:
    ended = campaign(seed=0, suites=180, commands=30)
    assert not ended.bad, f"{text(ended)}\n{ended.bad[:3]}"
    outcomes = {outcome for _, outcome in ended.table}
    assert outcomes == {"accepted", "refused"}
