"""Processes that fork: started once, warm, and each of them able to do harm to nobody but itself.

The first of a family, its *root*, imports what is needed and computes nothing. It is asked to fork, and so is each
process that comes from it. A fork has all that its parent had when it was made, without a copy: memory is shared until
one of them writes to it. A process runs the functions that it is sent, one at a time, and tells what becomes of them
over a socket of its own.
"""

from __future__ import annotations

from vdbench.workers.endings import Lost
from vdbench.workers.processes import Process, close, possible, root, wait

__all__ = ["Lost", "Process", "close", "possible", "root", "wait"]
