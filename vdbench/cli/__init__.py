"""The command line: ``vdbench VERB``. ``vdbench VERB --help`` lists the options of a verb.

`vdbench.cli.app` has the command, `vdbench.cli.verbs` one file a verb.

Exit codes: 0 done; 1 ran, and a cell (or a check) failed; 2 bad input, explained in one sentence
on stderr; 130 interrupted.
"""

from __future__ import annotations

from vdbench.cli.app import main

__all__ = ["main"]
