"""``vdbench.recommend``: which estimator, at which minibatch size and number of draws, is best for a model."""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from vdbench import statistics
from vdbench.errors import InputError
from vdbench.estimation import registry
from vdbench.estimation.base import Estimator
from vdbench.estimation.options import get
from vdbench.measures import memory
from vdbench.measures.cells import Place, fits
from vdbench.measures.progress import Progress, Quiet
from vdbench.noise import TORCH, Key
from vdbench.recommendation.candidates import Candidate, Field, field_of
from vdbench.recommendation.contest import BYTES, SECONDS, Contest, Question
from vdbench.recommendation.forecast import ahead
from vdbench.recommendation.measuring import Measuring
from vdbench.recommendation.model import Model, model, suite
from vdbench.recommendation.race import Race
from vdbench.recommendation.result import BEST, OPEN, STAY, WITHIN, Answer, Recommendation, Row
from vdbench.runner import environment
from vdbench.runner.asking import asking
from vdbench.runner.prepare import resolve_device
from vdbench.statistics import Estimate
from vdbench.suite.grid import checkpoint_name
from vdbench.suite.schema import Suite

SIZES = (32, 128)
"""Minibatch sizes that are tried, where none are named."""

DRAWS = (1, 4)
"""Numbers of draws that a gradient is the mean of, where none are named."""


def recommend(
    source: Any,
    data: Any = None,
    *,
    minutes: float = 5.0,
    batch_sizes: Sequence[int] = (),
    samples: Sequence[int] = DRAWS,
    estimators: Sequence[Any] = (),
    baseline: str | Estimator = "naive",
    zone: float = 0.05,
    error: float = 0.05,
    epochs: int | None = None,
    objective: str | None = None,
    seed: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    out: str | Path | None = None,
    allow: Sequence[str] = (),
    plugins: Sequence[str | Path] = (),
    progress: Progress | None = None,
    isolate: bool = True,
) -> Recommendation:
    """Say which estimator has the least variance × seconds, and × bytes, for a model on this machine.

    All unbiased registered estimators of the baseline's objective that are valid for the model are measured side by
    side, and eliminated as soon as it is sure that another is better (`vdbench.recommendation.contest`). It ends when
    all questions are settled, or when the time is up.

    Args:
        source: A `vdbench.Problem`; a `torch.nn.Module`, with ``data``; or a text: ``package.module:factory``, a
            factory of vdbench, a suite with one problem, or ``SUITE:PROBLEM``.
        data: For a network, as `vdbench.noisy` takes them. For a text, the name of a data set.
        minutes: Of measuring, about: the first look may take longer on a loaded machine. To open the processes and to
            train a checkpoint is not counted.
        batch_sizes: Minibatch sizes to try; the first is the baseline's. Default 32 and 128, as far as there are data.
        samples: Numbers of draws to average a gradient of, for the baseline and one other estimator.
        estimators: Estimators, names or items as a suite writes them, in place of all that are registered.
        baseline: What is used now.
        zone: Relative difference that does not matter, from 0.
        error: Probability that anything said is wrong, at most.
        epochs: Of training before gradients are taken; default those of the suite, or none.
        objective: ``likelihood`` or ``elbo``, as in a suite.
        seed: Of all random numbers.
        threads: Of torch on a CPU.
        device: ``cpu``, ``cuda`` or ``auto``.
        out: Run folder that is kept, with the suite as ``recommend.yaml``; nothing is kept by default.
        allow: Modules and factories that a text may run; what Python names may always be run.
        plugins: Python files that register estimators.
        progress: Told what is done.
        isolate: As of `vdbench.run`.

    Raises:
        InputError: Something given is wrong, or the baseline cannot be measured.

    Example:
        >>> import vdbench
        >>> found = vdbench.recommend(
        ...     "classification", minutes=0.02, batch_sizes=[8], estimators=["local"], isolate=False
        ... )
        >>> sorted({answer.question.cost for answer in found.answers})
        ['seconds']
    """
    _check(minutes, zone, error, batch_sizes, samples, threads)
    for plugin in plugins:
        registry.load_plugin(plugin)
    changes = {k: v for k, v in (("seed", seed), ("objective", objective)) if v is not None}
    mine = model(source, data, allow, epochs=epochs, changes=changes)
    base = get(baseline) if isinstance(baseline, str) else baseline
    field = field_of(mine.problem, base, _sizes(mine, batch_sizes), samples, estimators)
    asked = suite(mine, field.candidates, _measures(64, 4096, 30), threads)
    for candidate in field.candidates:
        fits(asked, mine.problem, candidate.batch_size)
    with _folder(out) as folder, asking(
        asked, folder, held={mine.spec.name: mine.problem}, device=device, plugins=plugins,
        allow=[*allow, mine.spec.factory], progress=progress, isolate=isolate,
    ) as hands:  # fmt: skip
        kind = resolve_device(device).type
        place = [
            Place(mine.spec.name, checkpoint_name(mine.checkpoint), c.batch_size)
            for c in field.candidates
        ]
        measuring = Measuring(
            hands, place, field.candidates, roles_of(mine), Key(("vdbench", asked.seed, "recommend")),
            _jobs(mine, asked, field, place, folder, kind, threads, plugins),
            memory.Helper((mine.problem if mine.given else None, registry.others())),
        )  # fmt: skip
        measuring.open()
        race = Race(measuring, 60 * minutes, time.perf_counter(), error, zone, progress or Quiet())
        with closing(race.progress), measuring.helper:
            contest = race.run(_questions(mine))
        spent = race.elapsed / 60
        found = _found(mine, field, race, contest, spent, minutes, kind, threads)
        _keep(found, out, folder)
    return found


def _check(
    minutes: float,
    zone: float,
    error: float,
    sizes: Sequence[int],
    samples: Sequence[int],
    threads: int,
) -> None:
    if not (isinstance(minutes, int | float) and 0 < minutes <= 1e5):
        raise InputError(f"recommend: minutes must be above 0, up to 100,000, not {minutes!r}.")
    if not 0 <= zone < 1:
        raise InputError(f"recommend: the zone must be from 0 to below 1, not {zone!r}.")
    if not 1e-6 <= error <= 0.5:
        raise InputError(f"recommend: the error rate must be from 1e-6 to 0.5, not {error!r}.")
    for name, values in (("batch sizes", sizes), ("samples", samples), ("threads", [threads])):
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**9:
                raise InputError(f"recommend: {name} must be whole numbers from 1, not {value!r}.")


def _sizes(of: Model, asked: Sequence[int]) -> list[int]:
    """Minibatch sizes, without those that the default has and the data do not."""
    if asked:
        return list(dict.fromkeys(asked))
    return [s for s in SIZES if s <= of.problem.examples] or [of.problem.examples]


def roles_of(of: Model) -> list[str]:
    """Roles of the parameters of the noise that gradients are taken in."""
    form = of.problem.parameterization
    return list(dict.fromkeys(role for name, role in form.roles.items() if name not in form.fixed))


def _questions(of: Model) -> tuple[Question, ...]:
    return tuple(Question(cost, role) for cost in (SECONDS, BYTES) for role in roles_of(of))


def _measures(first: int, most: int, rounds: int) -> dict[str, Any]:
    return {
        "variance": {"first_units": first, "max_units": most},
        "throughput": {"rounds": rounds},
        "memory": {},
    }


@contextmanager
def _folder(out: str | Path | None) -> Iterator[Path]:
    if out is not None:
        yield Path(out)
        return
    with tempfile.TemporaryDirectory(prefix="vdbench-") as name:
        yield Path(name) / "run"


def _found(
    mine: Model,
    field: Field,
    race: Race,
    contest: Contest,
    spent: float,
    minutes: float,
    kind: str,
    threads: int,
) -> Recommendation:
    measuring = race.measuring
    rate = {number: seconds / 60 for number, seconds in race.spent.items()}
    failed = {str(field.candidates[i]): f"failed: {why}" for i, why in measuring.failed.items()}
    tried = [c for i, c in enumerate(field.candidates) if i in contest.taken]
    written = _suite(mine, tried, contest, threads)
    allow = (
        "" if ":" not in mine.spec.factory else f" --allow {mine.spec.factory.partition(':')[0]}"
    )
    notes = []
    if not any(q.cost == BYTES for q in contest.questions):
        notes.append(_without_bytes(contest))
    return Recommendation(
        mine.spec.name,
        _machine(kind, threads),
        minutes,
        spent,
        contest.error,
        contest.zone,
        {i: _row(contest, field.candidates[i], i) for i in contest.taken},
        [answer_of(contest, question) for question in contest.questions],
        {**field.left_out, **failed},
        [str(field.candidates[i]) for i in race.late],
        [*race.steps, *ahead(contest, spent, rate)],
        written,
        f"vdbench run recommend.yaml{allow}" if written else "",
        notes,
        [str(field.candidates[i]) for i in race.aside],
    )


def _without_bytes(contest: Contest) -> str:
    """Why bytes are not compared."""
    taken = contest.taken[0]
    if not taken.peaks:
        return "Bytes were not measured: that needs Linux, and a problem that can be sent to a process of its own."
    if sum(bool(t.peaks) for t in contest.taken.values()) == 1:
        return "Bytes are not compared: of the candidates, only the baseline's memory was measured."
    return (
        f"Bytes are not compared: a gradient takes {np.median(taken.peaks) / 2**20:.2g} MiB at its peak, "
        f"and Linux counts in steps of up to {taken.step / 2**20:.2g} MiB."
    )


def _jobs(
    mine: Model,
    asked: Suite,
    field: Field,
    places: Sequence[Place],
    folder: Path,
    kind: str,
    threads: int,
    plugins: Sequence[str | Path],
) -> Callable[[int], dict[str, Any]] | None:
    """What measures a candidate's memory in a process of its own; None where that cannot be."""
    if kind == "cpu" and sys.platform != "linux":
        return None

    def job(number: int) -> dict[str, Any]:
        about = {
            "batch_size": places[number].batch_size,
            "device": kind,
            "precision": asked.precision,
            "key": [*places[number].key(asked.seed).path],
            "noise": TORCH,
            "threads": threads,
            "plugins": [str(Path(plugin).resolve()) for plugin in plugins],
        }
        plain = mine.spec.model_dump(include={"name", "factory", "options"})
        named = None if mine.given else plain
        (file,) = (p for p in (folder / "checkpoints").glob("*.npz") if ".part" not in p.suffixes)
        return memory.job_of(named, file, about, field.candidates[number].estimator)

    return job


def _machine(kind: str, threads: int) -> str:
    described = environment.describe(kind)
    name = (described.get("device") or {}).get("name") or kind
    return f"{name}, {threads} thread{'s' * (threads != 1)}"


def answer_of(contest: Contest, question: Question) -> Answer:
    """What can be said at the end."""
    left, best = contest.left[question], contest.leader(question)
    lows = [contest.ratio(question, i, 0).low for i in left if i]
    gain = max(0.0, *(1 - low if low == low else 1.0 for low in lows), 0.0)
    pick, regret = best, contest.regret(question)
    if 0 in left and gain <= contest.zone / (1 + contest.zone):
        pick, verdict, regret = 0, STAY, 1 / (1 - gain) - 1
    elif len(left) == 1:
        verdict = BEST
    else:
        verdict = WITHIN if contest.settled(question) else OPEN
    return Answer(
        question, verdict, pick, tuple(left), contest.ratio(question, pick, 0), regret, gain
    )


LEVEL = 0.95
"""Of the interval of a candidate's own time, and of its own variance, over all looks."""


def _peak(peaks: Sequence[float]) -> Estimate:
    """The median of processes, with their range: it has no level."""
    if not peaks:
        return Estimate(math.nan, -math.inf, math.inf, 0)
    return Estimate(float(np.median(peaks)), float(min(peaks)), float(max(peaks)), len(peaks))


def _row(contest: Contest, candidate: Candidate, number: int) -> Row:
    taken = contest.taken[number]
    widest = float(max(statistics.critical_values(contest.plan.looks, LEVEL)))
    return Row(
        candidate.label,
        candidate.batch_size,
        taken.n,
        len(taken.seconds),
        statistics.median(taken.seconds, 1 - (1 - LEVEL) / len(contest.plan.looks)),
        _peak(taken.peaks),
        {role: statistics.positive_mean(rows, widest, signed=True)
         for role, rows in taken.rows.items()},
        {q: contest.ratio(q, number, 0) for q in contest.questions
         if q.cost == SECONDS or taken.peaks},
        {q: contest.beaten[q][number][0] if number in contest.beaten[q] else "left"
         for q in contest.questions},
    )  # fmt: skip


def _suite(mine: Model, tried: Sequence[Candidate], contest: Contest, threads: int) -> str:
    """The suite that measures the candidates again; '' where no file can name the problem."""
    if mine.given:
        return ""
    units = max(taken.n for taken in contest.taken.values())
    rounds = max(8, *(len(taken.seconds) for taken in contest.taken.values()))
    made: Suite = suite(mine, tried, _measures(contest.plan.block, units, rounds), threads)
    content = made.model_dump(mode="json", exclude_defaults=True)
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    return text


def _keep(found: Recommendation, out: str | Path | None, folder: Path) -> None:
    """Leave the suite in the run folder, where that is kept."""
    if out is None or not found.suite:
        return
    try:
        (folder / "recommend.yaml").write_text(found.suite, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {folder}: it cannot be written to, {error.strerror}.") from error
