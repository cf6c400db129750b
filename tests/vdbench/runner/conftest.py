"""A run that costs a fraction of a second, made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_campaign import SUITE, cache

import vdbench


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder; with the cache beside it."""
    folder = tmp_path_factory.mktemp("tiny")
    with cache(folder / "cache"):
        vdbench.run(SUITE, folder / "run")
    return folder / "run"


@pytest.fixture
def copied(tiny: Path, elsewhere: Path) -> Callable[[str], Path]:
    """Copies it into the test's own folder."""

    def copy(name: str = "run") -> Path:
        return Path(shutil.copytree(tiny, elsewhere / name))

    return copy
