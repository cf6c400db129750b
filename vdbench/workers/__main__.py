"""``python -m vdbench.workers FD MODULE…``: the root of a family, started by `vdbench.workers.root`."""

from __future__ import annotations

from vdbench.workers import server

if __name__ == "__main__":
    server.pristine = True
    server.main()
