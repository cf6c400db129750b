"""The certificate: correct estimators pass it, and every known defect fails the test that is meant to see it."""

from __future__ import annotations

import pytest
from known_bad import DEFECTS

from vdbench.certificate import check


@pytest.mark.parametrize("name", DEFECTS)
def test_known_defects_are_caught(name: str) -> None:
    """At the small level, by the test that is meant to see it, with what it points to."""
    defect = DEFECTS[name]
    found = check(defect.estimator)
    assert not found.passed
    fitting = [f for f in found.failed if f.test == defect.test and defect.where in f.where]
    assert fitting, found.text()
    assert all(f.suggests for f in fitting), found.text()
    assert any(defect.suggests in f.suggests for f in fitting), found.text()
