"""The page of the fault campaign: ``python tests/helpers/fault_page.py FAULTS MISBEHAVING PAGE [NOTE]``.

The first two are what `fault_campaign` and `misbehaving` printed (``make faults``); ``NOTE`` says on what machine.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fault_campaign import OUTCOMES

HEAD = """\
# Disturbed runs

`make faults` measured this and wrote this page. Each fault disturbs a finished or a running run of a small suite: one
file is damaged, exchanged or removed, or the system fails. Then the run is gone on with, and every figure is compared
with those of a run that was not disturbed (times aside).

- *Named*: the damaged file, or the failure, is named in the report or in the message. A file that is removed is not
  missed; it is measured again. A bit may flip where nothing is stored.
- *At once*: the figures are equal after the disturbed run itself. *By a rerun*: after the same command once more.
- *Silently wrong*, *figures lost*, *bytes lost* (a finished block that is gone), *not healed*, *raised* (another error
  than the project's own): what must not be.

Of the 660 faults tried on version 0.1, 29 gave silently wrong figures, and 105 lost cells that no rerun
brought back.

"""


def page(faults: Sequence[str], misbehaving: Sequence[str], note: str) -> str:
    """The page as Markdown."""
    columns = ["kind", "faults", "named", *OUTCOMES]
    said = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for line in faults[1:]:
        cells = line.rsplit(maxsplit=len(columns) - 1)
        if len(cells) == len(columns) and all(cell.isdigit() for cell in cells[1:]):
            said.append("| " + " | ".join([cells[0].strip(), *cells[1:]]) + " |")
    each = [line.split(maxsplit=1) for line in misbehaving if "  " in line]
    counts = Counter(outcome for _, outcome in each)
    kinds = "\n".join(f"- {outcome}: {count} of {len(each)}" for outcome, count in counts.items())
    names = ", ".join(f"`{name}`" for name, _ in each)
    return (
        f"{HEAD}{note + chr(10) * 2 if note else ''}"
        + "\n".join(said)
        + "\n\n## Estimators that misbehave\n\n"
        + "Each runs alone among well-behaved ones (`tests/helpers/misbehaving.py`).\n\n"
        + f"{kinds}\n\nThey are: {names}.\n"
    )


if __name__ == "__main__":
    given, wild, out = map(Path, sys.argv[1:4])
    out.write_text(
        page(given.read_text().splitlines(), wild.read_text().splitlines(), *sys.argv[4:5] or [""])
    )
