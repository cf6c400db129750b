"""Pytest fixtures ``gradient_variance`` and ``benchmark_estimator``: an estimator measured in a test.

    def test_variance(gradient_variance):
        found = gradient_variance("my-estimator", file="my_estimator.py", units=1024)
        assert found.total["scale"].high < 1.0

``pytest --vdbench-save DIR`` keeps each test's run; ``pytest --vdbench-compare DIR`` compares with what was kept there
(`vdbench.compare`), and fails a test where a figure is WORSE. A test without a run in DIR is skipped, and one that is
INCONCLUSIVE passes; ``--vdbench-strict`` fails both. Where the test also takes ``benchmark``, of pytest-benchmark, the
figures are in its ``extra_info``.

``benchmark_estimator`` is called in the same way. It measures the variance, and times the estimator with
pytest-benchmark, on one thread: pytest-benchmark's table has the times, and compares them with those it has saved.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from vdbench.comparison import Comparison
    from vdbench.estimation.base import Estimator
    from vdbench.statistics import Estimate

BATCH, LEVEL = 32, 0.95
"""M, and the level of intervals, where nothing else is said."""

SAVE, COMPARE, STRICT = "--vdbench-save", "--vdbench-compare", "--vdbench-strict"


@dataclass(frozen=True)
class Measured:
    """What the fixture gives.

    Attributes:
        total: Variance of the gradient over all layers, by role of the parameters.
        noise: The part of it that the estimator's noise makes.
        comparison: With the run that was kept; None where none was asked for.
        folder: The run folder.
    """

    total: Mapping[str, Estimate]
    noise: Mapping[str, Estimate]
    comparison: Comparison | None
    folder: Path


@dataclass(frozen=True)
class Benchmarked(Measured):
    """What ``benchmark_estimator`` gives.

    Attributes:
        seconds: Per gradient, the median over rounds; None where benchmarks are disabled.
        efficiency: Variance × seconds, by role; empty where benchmarks are disabled.
    """

    seconds: Estimate | None = None
    efficiency: Mapping[str, Estimate] = field(default_factory=dict)


def add_options(parser: pytest.Parser) -> None:
    """Where runs are kept, and where those are that are compared with."""
    for name, what in (
        (SAVE, "keep the runs of gradient_variance in this folder"),
        (
            COMPARE,
            "compare with the runs of gradient_variance in this folder; fail where one is WORSE",
        ),
    ):
        parser.addoption(name, metavar="DIR", default=None, help=what)


@pytest.fixture
def gradient_variance(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Measured]:
    """Measure the gradient variance of an estimator.

    The fixture is a function of

    - ``estimator``: a registered name, or the estimator;
    - ``options``: of the estimator, if it is given by name;
    - ``file``: a Python file that registers it, relative to the test's folder;
    - ``problem``: as in a suite, without its name; a network of one hidden layer on digits by default;
    - ``batch_size``: M;
    - ``units``: of four gradients each;
    - ``seed``: of the run.

    Torch uses one thread within. The test fails if the estimator cannot be measured.
    """
    calls: list[str] = []

    def measure(
        estimator: str | Estimator,
        *,
        options: Mapping[str, Any] | None = None,
        file: str | Path | None = None,
        problem: Mapping[str, Any] | None = None,
        batch_size: int = BATCH,
        units: int = 512,
        seed: int = 0,
    ) -> Measured:
        plugins = [] if file is None else [request.path.parent / file]
        calls.append("")
        name = _name(request.node.nodeid, len(calls))
        suite = _suite(estimator, options or {}, plugins, problem or {}, batch_size, units, seed)
        folder = _folder(request.config, name, tmp_path)
        total, noise = _measured(suite, folder, plugins)
        extra = {}
        if "benchmark" in request.fixturenames:
            extra = request.getfixturevalue("benchmark").extra_info
        extra |= _info({"variance.total": total, "variance.noise": noise}, len(calls))
        against = request.config.getoption(COMPARE)
        kept = None if against is None else Path(against) / name
        if kept is not None and not (kept / "run.json").exists():
            _undecided(request.config, f"{COMPARE} {against}: it has no run of this test.")
        compared = None if kept is None else _compared(kept, folder, request.config)
        return Measured(total, noise, compared, folder)

    return measure


@pytest.fixture
def benchmark_estimator(
    request: pytest.FixtureRequest, gradient_variance: Callable[..., Measured]
) -> Callable[..., Benchmarked]:
    """Measure the gradient variance of an estimator, and time it with pytest-benchmark.

    The fixture is a function of what `gradient_variance` takes, and of ``rounds``, of timing. A test may call it once.
    Torch uses one thread within. ``extra_info`` has variances, seconds per gradient and variance × seconds, with their
    intervals. The test fails if pytest-benchmark is not installed.
    """
    if not request.config.pluginmanager.hasplugin("benchmark"):
        pytest.fail("benchmark_estimator needs pytest-benchmark: install it.", pytrace=False)
    benchmark: Any = request.getfixturevalue("benchmark")

    def measure(estimator: str | Estimator, *, rounds: int = 30, **more: Any) -> Benchmarked:
        from vdbench import statistics
        from vdbench.runner import using_threads

        found = gradient_variance(estimator, **more)
        with using_threads(1):
            seconds = _timed(benchmark, estimator, more, rounds)
        efficiency = {}
        if seconds is not None:
            efficiency = {r: statistics.product(e, seconds) for r, e in found.total.items()}
            named = {
                "time.seconds_per_gradient": {"": seconds},
                "efficiency.variance_seconds": efficiency,
            }
            benchmark.extra_info |= _info(named, 1)
        return Benchmarked(**vars(found), seconds=seconds, efficiency=efficiency)

    return measure


def _timed(
    benchmark: Any, estimator: str | Estimator, more: Mapping[str, Any], rounds: int
) -> Estimate | None:
    """Seconds per gradient where variance was measured: the same problem, weights and minibatch size."""
    from vdbench import problems, statistics
    from vdbench.estimation.options import get, label
    from vdbench.measures.context import Context
    from vdbench.measures.timing import Here, Timer, gradient_call
    from vdbench.noise import Key

    made = (
        get(estimator, **(more.get("options") or {})) if isinstance(estimator, str) else estimator
    )
    spec = _problem(more.get("problem") or {})
    problem = problems.build(spec["name"], spec.get("factory", "classification"), spec["options"])
    key = Key(("vdbench", more.get("seed", 0), spec["name"]))
    at = problem.initial(key / "checkpoint")
    size = more.get("batch_size", BATCH)
    key = key / "initial" / size
    state = made.fit(problem, at, key / "fit" / label(made))
    context = Context(problem, at, made, label(made), size, key, {}, state=state)
    calls = Here(context).calibrate(Timer())
    benchmark.pedantic(gradient_call(context), rounds=rounds, iterations=calls, warmup_rounds=1)
    if benchmark.disabled or benchmark.stats is None:
        return None
    return statistics.median(benchmark.stats.stats.data, LEVEL)


def _problem(given: Mapping[str, Any]) -> dict[str, Any]:
    """A problem as a suite writes it: digits, and one hidden layer, where nothing else is said."""
    return {"options": {"dataset": "digits", "widths": [32]}, **given, "name": "problem"}


def _suite(
    estimator: str | Estimator,
    options: Mapping[str, Any],
    plugins: list[Path],
    problem: Mapping[str, Any],
    batch_size: int,
    units: int,
    seed: int,
) -> dict[str, Any]:
    """A suite of one estimator and one look."""
    from vdbench.estimation import registry
    from vdbench.estimation.options import get, label
    from vdbench.estimation.options import options as options_of

    for plugin in plugins:
        registry.load_plugin(plugin)
    made = get(estimator, **options) if isinstance(estimator, str) else estimator
    return {
        "name": "pytest",
        "seed": seed,
        "threads": 1,
        "problems": [_problem(problem)],
        "batch_sizes": [batch_size],
        "estimators": [{"name": made.declaration.name, "options": options_of(made)}],
        "baseline": label(made),
        "measures": {"variance": {"first_units": units, "max_units": units}},
    }


def _name(test: str, call: int) -> str:
    """The folder of a test's run: readable, and its own."""
    short = re.sub(r"[^A-Za-z0-9]+", "-", test.rpartition("::")[2]).strip("-")[:60]
    own = hashlib.blake2b(test.encode(), digest_size=4).hexdigest()
    return f"{short}-{own}-{call}"


def _folder(config: pytest.Config, name: str, tmp_path: Path) -> Path:
    """Where a run goes; one that is kept takes the place of the one before."""
    save = config.getoption(SAVE)
    if save is None:
        return tmp_path / name
    folder = Path(save) / name
    if (folder / "run.json").exists():
        shutil.rmtree(folder)
    return folder


def _measured(
    suite: Mapping[str, Any], folder: Path, plugins: list[Path]
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Run it; total and noise by role."""
    from vdbench.runner import run
    from vdbench.statistics import Estimate

    finished = run(suite, folder, plugins=plugins)
    table = finished.results
    if finished.failed:
        pytest.fail(f"it could not be measured: {table['message'].iloc[0]}", pytrace=False)
    found: list[dict[str, Estimate]] = []
    for metric in ("variance.total", "variance.noise"):
        rows = table[(table["metric"] == metric) & (table["layer"] == "all")]
        columns = (rows[name] for name in ("role", "value", "ci_low", "ci_high", "n"))
        found.append(
            {
                str(role): Estimate(v, low, high, int(n))
                for role, v, low, high, n in zip(*columns, strict=True)
            }
        )
    return found[0], found[1]


def _compared(kept: Path, folder: Path, config: pytest.Config) -> Comparison:
    """Compare with a run that was kept; the test fails where a figure is worse or nothing can be compared."""
    from vdbench.comparison import compare
    from vdbench.errors import InputError

    try:
        found = compare(kept, folder)
    except InputError as error:
        pytest.fail(str(error), pytrace=False)
    if found.exit_code(strict=bool(config.getoption(STRICT))):
        pytest.fail(found.text(), pytrace=False)
    return found


def _undecided(config: pytest.Config, reason: str) -> None:
    if config.getoption(STRICT):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _info(found: Mapping[str, Mapping[str, Estimate]], call: int) -> dict[str, Any]:
    """Figures as pytest-benchmark keeps them."""
    end = "" if call == 1 else f" ({call})"
    return {
        f"{metric} {role}".strip() + end: {
            "value": e.value,
            "ci_low": e.low,
            "ci_high": e.high,
            "n": e.n,
        }
        for metric, each in found.items()
        for role, e in each.items()
    }
