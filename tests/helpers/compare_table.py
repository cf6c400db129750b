"""The page of a campaign: ``python tests/helpers/compare_table.py`` measures it and writes it (``make compare``)."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path
from textwrap import fill

import numpy as np
import torch
from compare_campaign import LEVEL, Pool, false_alarms, planted, real, settling

from vdbench.statistics.proportions import at_most, share

TABLE = Path(__file__).parents[2] / "docs" / "results" / "compare.md"

HEAD = """\
# How far `vdbench compare` can be trusted

`make compare` measured this and wrote this page. Pairs of runs are drawn from the unit rows of real runs (digits, a
64-8-10 network with given weights, batch size 16), with replacement. They look at their intervals and stop as runs do.
A pair has 9 rows of variance and up to 3 of bias, judged together at 95 %. *Paired* runs share minibatches: they are
`local`, and a copy of it with noise of its own. *Unpaired* runs share nothing. Intervals are Clopper and Pearson's
at 95 %.

## Equal runs called different

At most 5 % of pairs may have a row that is BETTER or WORSE. p is that of a one-sided test of this claim.

| pairs | runs | called different | p |
|---|---|---|---|
"""

MIDDLE = """
## Too few units, and the number that compare names

Two runs of 64 units are compared. Where a row of variance is INCONCLUSIVE, both are measured anew with the number of
units named. *Planted* means that all variances of the new run are multiplied by 1.1.

| pairs | runs | WORSE at 64 | INCONCLUSIVE rows at 64 | of these settled | pairs WORSE then | units named, median |
|---|---|---|---|---|---|---|
"""


def percent(count: int, n: int) -> str:
    """A share with its interval."""
    if not n:
        return "–"
    found = share(count, n, 0.95)
    ends = f"{100 * found.low:.1f}, {100 * found.high:.1f}"
    return f"{count:,} of {n:,}: {100 * found.value:.1f} [{ends}] %"


def campaign(folder: Path, pairs: int, runs: int) -> str:
    """Measure all, and write the page."""
    pool = Pool.measured(folder)
    lines = [HEAD]
    for paired, most in ((True, 1024), (False, 1024), (True, 64), (False, 64)):
        count = false_alarms(pool, pairs, paired, most)
        p = at_most(count, pairs, 1 - LEVEL)
        units = "64 units" if most == 64 else f"64 to {most:,} units"
        lines.append(f"| {kind(paired)} | drawn, {units} | {percent(count, pairs)} | {p:.2g} |\n")
    verdicts, times, asked = real(folder, runs)
    count = verdicts["different"]
    p = at_most(count, runs, 1 - LEVEL)
    lines.append(f"| unpaired | real, other seeds | {percent(count, runs)} | {p:.2g} |\n")
    lines.append(MIDDLE)
    for paired in (True, False):
        for more in (1.1, 1.0):
            found = settling(pool, pairs // 2, paired, more)
            assert found.units
            what = "planted" if more > 1 else "equal"
            lines.append(
                f"| {kind(paired)}, {what} | {found.pairs:,} | {found.few:,} | {found.open:,} | "
                f"{percent(found.settled, found.open)} | {percent(found.found, found.pairs)} | "
                f"{int(np.median(found.units)):,} |\n"
            )
    lines.append(endings(*planted(folder, runs), runs, times, asked))
    return "".join(lines)


def endings(
    some: int, every: int, units: int, runs: int, times: Counter[str], asked: Counter[str]
) -> str:
    """What real runs found, in two paragraphs."""
    real_runs = (
        f"Real runs with other seeds, of `local` and of an estimator whose noise has 1.1 times its variance, at the "
        f"{units:,} units that a run of 64 names: {some} of {runs} are WORSE in the noise part, {every} of them in "
        "every row."
    )
    sessions = (
        f"The {runs} real pairs of equal runs were timed in two sessions each, beside other work. Verdicts on their "
        f"times without `--timing`: {told(times)}. With it: {told(asked)}. The drift between two sessions is in no "
        "interval, so verdicts with `--timing` have no known error rate. Compare times within one run."
    )
    return f"\n{fill(real_runs, 120)}\n\n## Times\n\n{fill(sessions, 120)}\n"


def kind(paired: bool) -> str:
    """What pairs are called."""
    return "paired" if paired else "unpaired"


def told(counts: Counter[str]) -> str:
    """Verdicts with their numbers."""
    return ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        page = campaign(Path(name), *(int(n) for n in (*sys.argv[1:], "1000", "20")[:2]))
    TABLE.write_text(page, encoding="utf-8")
    print(page)
