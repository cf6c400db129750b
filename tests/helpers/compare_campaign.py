"""How often ``vdbench compare`` calls equal things different, and whether the number of units it names is enough.

``make compare`` writes the table of a long campaign (`compare_table`). Pairs of runs are drawn from the unit rows of a
real run, with replacement, and stop as runs do; twenty pairs are real runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import vdbench
from vdbench import datasets
from vdbench.comparison import reading
from vdbench.comparison.judging import judged
from vdbench.comparison.rows import INCONCLUSIVE, WORSE, Candidate, Comparison, Where
from vdbench.comparison.variances import biases, variances
from vdbench.measures.metrics import LookSchedule, UnitRows
from vdbench.measures.registry import load
from vdbench.measures.stopping import Stopping, look_schedule

LEVEL, TOLERANCE = 0.95, 0.05

PLUGIN = '''
from dataclasses import dataclass

import vdbench


@vdbench.register("again", objective="elbo", unbiased=True, laws=("normal",), independent_examples=True)
@dataclass(frozen=True)
class Again(vdbench.Pathwise):
    """Local reparameterization with noise of its own: the law of `local`, other numbers."""

    def preactivation(self, layer, x, q, noise):
        mean = layer.linear(x, q.mean)
        spread = layer.squared(x, q.variance).clamp(min=1e-20).sqrt()
        return mean + spread * noise.at("again")(layer.name, mean.shape)


@vdbench.register("tenth", objective="elbo", unbiased=True, laws=("normal",), independent_examples=True)
@dataclass(frozen=True)
class Tenth(vdbench.Estimator):
    """`local` with a tenth more noise: g1 + c (g2 - g3) with 2 c^2 = 0.1."""

    def __call__(self, problem, parameters, batch, noise, state=()):
        local = vdbench.get("local")
        one, two, three = (
            local(problem, parameters, batch, noise.at("sample", s), state) for s in range(3)
        )
        c = 0.05**0.5
        more = {n: g + c * (two.gradients[n] - three.gradients[n]) for n, g in one.gradients.items()}
        return vdbench.Gradient(one.value, more)
'''
"""An estimator that is as good as `local`, and one whose noise is a tenth more."""

WHERE = Where("given", "initial", 16, "local", "local")


def given() -> vdbench.Problem:
    """Digits, with weights that do not depend on the seed: runs with other seeds can be compared."""
    generator = torch.Generator().manual_seed(5)
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    with torch.no_grad():
        for weight in body.parameters():
            weight.copy_(0.2 * torch.randn(weight.shape, generator=generator))
    return vdbench.noisy(body, datasets.load("digits"), name="given")


def suite(seed: int, estimators: Sequence[str], **measures: Any) -> dict[str, Any]:
    """A small suite on given weights."""
    return {
        "name": "compared",
        "seed": seed,
        "threads": 1,
        "problems": [{"name": "given", "factory": "compare_campaign:given"}],
        "batch_sizes": [16],
        "estimators": list(estimators),
        "baseline": estimators[0],
        "measures": measures,
    }


def fixed(units: int) -> dict[str, Any]:
    """So many units, looked at once."""
    return {"first_units": units, "max_units": units}


@dataclass
class Pool:
    """Unit rows of real estimators to draw from.

    Attributes:
        rows: Of `local` and of `again`, the same units: they share minibatches, and no noise.
        bias: Likewise, of the measure ``bias``.
    """

    rows: dict[str, UnitRows]
    bias: dict[str, UnitRows]

    @classmethod
    def measured(cls, folder: Path, units: int = 2048) -> Pool:
        """Measure it."""
        plugin = folder / "vdbench_plugin_compared.py"
        plugin.write_text(PLUGIN)
        asked = suite(
            11, ["local", "again"], variance=fixed(units), bias={"units": units // 4, "draws": 4}
        )
        vdbench.run(asked, folder / "pool", plugins=[plugin])
        run = reading.read(folder / "pool")
        each: list[dict[str, UnitRows]] = [{}, {}]
        for name in ("local", "again"):
            place = ("given", "initial", 16, name)
            each[0][name] = run.units((*place, "variance"))[0]
            each[1][name] = run.rows((*place, "bias"))[0]
        return cls(_alike(each[0]), _alike(each[1]))


def _alike(rows: dict[str, UnitRows]) -> dict[str, UnitRows]:
    """Rows whose means are the same for both estimators: what is drawn from them is then equal, and not nearly so."""
    one, other = rows["local"].table, rows["again"].table
    found = {}
    for name, table in (("local", one), ("again", other)):
        made = {}
        for key, values in table.items():
            if key.endswith("|bias2"):
                made[key] = values - values.mean()
            else:
                made[key] = values * (one[key].mean() / values.mean() if values.any() else 1.0)
        found[name] = UnitRows(made, rows[name].sizes)
    return found


@dataclass
class Drawn:
    """Two runs drawn from a pool.

    Attributes:
        pool: What is drawn from.
        paired: Whether units are drawn together, of `local` and of `again`; else apart, of `local` alone.
        generator: Draws them.
        more: What the new run's variances are multiplied by.
    """

    pool: Pool
    paired: bool
    generator: np.random.Generator
    more: float = 1.0

    def compared(self, first: int, most: int, precision: float = 0.1) -> Comparison:
        """Two runs that look at 64, … units and stop as runs do, compared."""
        asked = {"first_units": first, "max_units": most, "precision": precision}
        schedule = look_schedule(load(suite(0, ["local"], variance=asked)))
        draws = [self.generator, self.generator]
        if self.paired:  # the same units, however many each takes
            draws = [np.random.default_rng(int(self.generator.integers(2**62)))] * 2
            state = draws[0].bit_generator.state
        runs = []
        for number, name in enumerate(("local", "again" if self.paired else "local")):
            if self.paired:
                draws[0].bit_generator.state = state
            runs.append(self._stopped(name, schedule, draws[number], self.more if number else 1.0))
        base, new = ((rows, schedule) for rows in runs)
        found = list(variances(WHERE, new, base, "variance.total", self.paired, "float32"))
        found += self._biases(min(first, 64))
        rows, family = judged(found, LEVEL, TOLERANCE)
        return Comparison("base", "new", LEVEL, TOLERANCE, family, rows, [])

    def _stopped(
        self, name: str, schedule: LookSchedule, draws: np.random.Generator, more: float
    ) -> UnitRows:
        pool = self.pool.rows[name]
        stopping = Stopping(schedule, pool.sizes)
        for start, stop in stopping.blocks():
            chosen = draws.integers(pool.n, size=stop - start)
            stopping.add({key: more * values[chosen] for key, values in pool.table.items()})
        return stopping.stopped.rows

    def _biases(self, units: int) -> Iterator[Candidate]:
        names = ("again", "local") if self.paired else ("local", "local")
        chosen = self.generator.integers(self.pool.bias["local"].n, size=(2, units))
        rows = []
        for number, name in enumerate(names):
            pool = self.pool.bias[name]
            which = chosen[0 if self.paired else number]
            rows.append(UnitRows({k: v[which] for k, v in pool.table.items()}, pool.sizes))
        yield from biases(WHERE, rows[0], rows[1], self.paired)


def false_alarms(pool: Pool, pairs: int, paired: bool, most: int = 1024, seed: int = 0) -> int:
    """How many of some pairs of equal runs of 64 units to ``most`` have a row that is BETTER or WORSE."""
    drawn = Drawn(pool, paired, np.random.default_rng([seed, paired, most]))
    return sum(wrong(drawn.compared(64, most)) for _ in range(pairs))


def wrong(found: Comparison) -> bool:
    """Whether a row of two equal runs is called different."""
    return any(row.verdict in ("BETTER", "WORSE") for row in found.rows)


@dataclass
class Settled:
    """What became of comparisons with too few units, and of the number of units that they name.

    Attributes:
        pairs: How many were drawn.
        open: How many of their rows of variance were INCONCLUSIVE with few units.
        settled: How many of those have a verdict with the number named.
        worse: How many of those are WORSE then.
        found: Pairs that are WORSE then.
        few: Pairs that were WORSE with few units already.
        units: The numbers named.
    """

    pairs: int = 0
    open: int = 0
    settled: int = 0
    worse: int = 0
    found: int = 0
    few: int = 0
    units: list[int] | None = None


def settling(pool: Pool, pairs: int, paired: bool, more: float, seed: int = 0) -> Settled:
    """Compare with 64 units, then with as many as that names."""
    drawn = Drawn(pool, paired, np.random.default_rng([seed, paired, 1]), more)
    result = Settled(units=[])
    assert result.units is not None
    for _ in range(pairs):
        before = {
            key(row): row for row in drawn.compared(64, 64).rows if row.metric != "relative_bias"
        }
        unsure = {k: row for k, row in before.items() if row.verdict == INCONCLUSIVE}
        result.pairs += 1
        result.few += any(row.verdict == WORSE for row in before.values())
        if not unsure:
            result.found += any(row.verdict == WORSE for row in before.values())
            continue
        units = max(row.needed["measures.variance.max_units"] for row in unsure.values())
        after = {key(row): row for row in drawn.compared(units, units).rows}
        result.open += len(unsure)
        result.settled += sum(after[k].verdict != INCONCLUSIVE for k in unsure)
        result.worse += sum(after[k].verdict == WORSE for k in unsure)
        result.found += any(row.verdict == WORSE for k, row in after.items() if k in before)
        result.units.append(units)
    return result


def key(row: Any) -> tuple[str, str, str]:
    """What a row is about."""
    return (row.metric, row.layer, row.role)


def real(folder: Path, pairs: int) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Real runs of the same code with other seeds, in pairs.

    Returns:
        Pairs by the verdict of all their rows but those of times; rows of times by verdict; and the same with
        ``timing=True``.
    """
    verdicts: Counter[str] = Counter()
    times: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for pair in range(pairs):
        for side in (0, 1):
            measures = {
                "throughput": {"rounds": 12, "budget_seconds": 5},
                "variance": {"first_units": 64, "max_units": 512, "precision": 0.1},
                "bias": {"units": 64, "draws": 2},
                "convergence": {
                    "steps": 40, "evaluations": 1, "seeds": 5, "samples": 2, "examples": 200,
                },
            }  # fmt: skip
            vdbench.run(
                suite(100 + 2 * pair + side, ["local"], **measures), folder / f"{pair}-{side}"
            )
        runs = [folder / f"{pair}-{side}" for side in (0, 1)]
        found = vdbench.compare(*runs)
        verdicts["different" if wrong(found) else found.verdict] += 1
        for counter, comparison in ((times, found), (asked, vdbench.compare(*runs, timing=True))):
            counter.update(r.verdict for r in comparison.rows if r.metric.startswith("time."))
    return verdicts, times, asked


def planted(folder: Path, runs: int) -> tuple[int, int, int]:
    """Real runs of `local` and of an estimator with a tenth more noise, at the units that a small run names.

    Returns:
        How many are WORSE in a row of the noise part, how many in every row, and the units.
    """
    plugin = folder / "vdbench_plugin_compared.py"
    plugin.write_text(PLUGIN)
    names = {"base": "local", "new": "tenth", "metrics": ["variance.noise"]}
    small = suite(7, ["local", "tenth"], variance=fixed(64))
    vdbench.run(small, folder / "small", plugins=[plugin])
    before = vdbench.compare(folder / "small", **names)  # type: ignore[arg-type]
    units = before.needed["measures.variance.max_units"]
    some = every = 0
    for seed in range(runs):
        asked = suite(500 + seed, ["local", "tenth"], variance=fixed(units))
        vdbench.run(asked, folder / f"planted-{seed}", plugins=[plugin])
        found = vdbench.compare(folder / f"planted-{seed}", **names)  # type: ignore[arg-type]
        some += found.verdict == WORSE
        every += all(row.verdict == WORSE for row in found.rows)
    return some, every, units
