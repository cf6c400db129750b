"""A registry of the test's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from vdbench.estimation import registry
from vdbench.estimation.base import Estimator


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, type[Estimator]]]:
    """A copy of the registry for each test, and modules as they were."""
    registry.discover()
    copy = dict(registry._registry)
    monkeypatch.setattr(registry, "_registry", copy)
    modules = set(sys.modules)
    yield copy
    for name in set(sys.modules) - modules:
        if name.startswith(("vdbench_plugin_", "package_", "vdbench_test_")):
            del sys.modules[name]
