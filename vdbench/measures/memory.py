"""Peak memory of one gradient, each repetition in a process of its own.

A helper process imports what is needed and measures nothing itself; it forks once a repetition, before any
tensor has been computed. The repetition builds the cell, takes one gradient to warm up libraries, and then
measures the peak of a second: on Linux the resident set's high-water mark above the resident set before the
gradient, on a GPU the peak of what torch's allocator handed out above what it held. Linux counts resident pages
in batches of some 256 KiB a thread: figures of a few MiB are coarse.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np

from vdbench.errors import CellError
from vdbench.store import Table

VERSION = "2"
"""Changes whenever the meaning of a row changes; part of every block's address."""


def rows(job: dict[str, Any], repetitions: int) -> Table:
    """Measure in processes of their own.

    Args:
        job: What `vdbench.measures.memory_process` needs to build the cell, as JSON.
        repetitions: How many processes.

    Returns:
        Column ``bytes``, one row a process.

    Raises:
        CellError: The process failed; its last line says why.
    """
    # -P: modules are looked up where this process does, and not in the current folder first
    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "vdbench.measures.memory_process"],
        input=json.dumps({**job, "repetitions": repetitions}),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise CellError(f"measuring memory in a process of its own failed: {lines[-1]}")
    return {"bytes": np.array(json.loads(done.stdout.splitlines()[-1]), dtype=np.float64)}
