"""Memory measured in the test's own process: a process for each repetition costs an import of torch each time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vdbench.measures import memory
from vdbench.measures.memory_process import measure


def measure_here(patch: pytest.MonkeyPatch) -> None:
    """From now on; what the processes are for is tested in test_memory.py."""

    def rows(job: dict[str, Any], repetitions: int, along: Any = None) -> dict[str, Any]:
        return {"bytes": np.array([float(measure(job, r)) for r in range(repetitions)])}

    patch.setattr(memory, "rows", rows)
