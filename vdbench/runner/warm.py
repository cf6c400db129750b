"""Imported by the root of a run's processes, and by nothing else: all that takes seconds to import.

Nothing is computed here: a process that has computed with several threads cannot be forked.
"""

from __future__ import annotations

import importlib

from vdbench.estimation import registry
from vdbench.runner import inside as inside

for _module in (
    "pandas",
    "pyarrow.parquet",
    "sklearn.datasets",
    "torch._dynamo",
    "torch.fx.experimental.symbolic_shapes",
    "torch.profiler",
):
    importlib.import_module(_module)
registry.discover()
