"""Imported by a run before it measures, in the root of its processes: what takes seconds to import, and a settled heap.

Nothing is computed here: a process that has computed with several threads cannot be forked.
"""

from __future__ import annotations

import importlib

import torch

from vdbench.estimation import registry
from vdbench.runner import inside as inside

FREED = 31 << 20
"""Bytes; glibc's limits move for blocks up to 32 MiB."""

for _module in (
    "pandas",
    "pyarrow.parquet",
    "torch._dynamo",
    "torch.fx.experimental.symbolic_shapes",
    "torch.profiler",
):
    importlib.import_module(_module)
registry.discover()

# glibc gives memory back to the system beyond a limit that grows with the largest block that was freed so far. Up to
# that limit each gradient of a large network takes its pages anew, a fifth of its time, and whether it does depends on
# what was measured before it in the same process. One large block, freed, has every cell begin beyond this.
_block = torch.empty(FREED, dtype=torch.uint8)
del _block
