"""Equal runs are called different at most as often as the level says; a tenth more variance is found.

The long form is ``make compare``.
"""

from __future__ import annotations

import pytest
from compare_campaign import LEVEL, Pool, false_alarms, settling

from vdbench.estimation import registry
from vdbench.statistics.proportions import at_least, at_most

ALARM = 1e-4
"""How often each of these tests fails although the claim holds."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    registry.discover()
    known = dict(registry._registry)
    try:
        return Pool.measured(tmp_path_factory.mktemp("pool"), 512)
    finally:  # its estimators are not for other tests
        registry._registry.clear()
        registry._registry.update(known)


@pytest.mark.parametrize("paired", [True, False])
def test_equal_runs_are_seldom_called_different(pool: Pool, paired: bool) -> None:
    pairs = 100
    count = false_alarms(pool, pairs, paired, 256)
    p = at_most(count, pairs, 1 - LEVEL)
    assert p > ALARM, f"{count} of {pairs} equal pairs are called different (p = {p:.2g})"


@pytest.mark.parametrize("paired", [True, False])
def test_the_units_named_find_a_tenth_more_and_settle_what_was_open(
    pool: Pool, paired: bool
) -> None:
    found = settling(pool, 20, paired, 1.1)
    assert found.open > 0
    for count, n in ((found.found, found.pairs), (found.settled, found.open)):
        p = at_least(count, n, 0.95)
        assert p > ALARM, f"{count} of {n} with {found.units} units (p = {p:.2g})"
