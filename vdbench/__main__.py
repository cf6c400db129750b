"""``python -m vdbench``: the command line."""

from __future__ import annotations

from vdbench.cli import main

if __name__ == "__main__":
    main()
