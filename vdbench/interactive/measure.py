"""``vdbench.measure``: the suite of one problem, written from a call's arguments, and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from vdbench.errors import InputError, shown
from vdbench.estimation.base import Estimator
from vdbench.estimation.options import label
from vdbench.interactive.progress import automatic
from vdbench.measures.progress import Progress, Quiet
from vdbench.problems.from_module import noisy
from vdbench.problems.problem import Problem
from vdbench.runner.finished import Finished
from vdbench.runner.prepare import default_folder
from vdbench.runner.run_suite import run
from vdbench.suite import in_python
from vdbench.suite.grid import expand
from vdbench.suite.schema import EstimatorSpec

NAMES = '["naive", "local"]'
BATCH = 64
"""Examples of a minibatch, where nothing is said; all of a smaller data set."""

DEFAULTS: dict[str, Any] = {"variance": {}, "throughput": {}}
"""What is measured where nothing is named."""

Asked = str | Estimator | Mapping[str, Any]
"""An estimator: its name, itself, or as a suite has it."""


def measure(
    problem: Problem | nn.Module,
    estimators: Asked | Sequence[Asked] = ("naive", "local"),
    data: Any = None,
    *,
    batch_size: int | Sequence[int] | None = None,
    baseline: str | Estimator | None = None,
    checkpoints: Any = ("initial",),
    objective: str = "likelihood",
    seed: int = 0,
    level: float = 0.95,
    precision: str = "float32",
    noise: str = "torch",
    threads: int | None = None,
    out: str | Path | None = None,
    device: str = "cpu",
    jobs: int = 1,
    progress: bool | Progress = True,
    name: str = "measure",
    **measures: Any,
) -> Finished:
    """Measure estimators on a problem; the result shows its table and figure in a notebook.

    It writes a suite of this one problem and runs it as `vdbench.run` does: all that is measured is in the run folder.

    Args:
        problem: From `vdbench.noisy`; or a module, which is made one with ``data``.
        estimators: Names, estimators from `vdbench.get`, or mappings as in a suite; one or several.
        data: The data of a module, in a form that `vdbench.noisy` takes; None with a problem, which has its own.
        batch_size: M, or several; 64 by default, or all examples where there are fewer.
        baseline: What ratios are against; ``naive`` where it is measured, else the first estimator.
        checkpoints: Where gradients are measured, one or several: ``"initial"``, the weights of the problem, or
            trainings, such as ``{"epochs": 5, "estimator": "local"}``.
        objective: ``likelihood``, or ``elbo`` to add the gradient of −KL.
        seed: Of all random numbers.
        level: Of all intervals.
        precision: ``float32`` or ``float64``.
        noise: ``torch``, or ``philox`` for random numbers that are the same on every device.
        threads: Of torch on a CPU; None as in a suite.
        out: Run folder; one that holds the same measurement is gone on with. Default ``runs/NAME-TIME``.
        device: ``cpu``, ``cuda`` or ``auto``.
        jobs: Cells that are measured at a time.
        progress: Whether to show progress, in a notebook or on a terminal; or what is told of it.
        name: Of the suite, in reports and in the default folder.
        measures: Measures with their options, as in a suite: ``variance={"precision": 0.1}``, ``bias=True``,
            ``memory=True``; variance and throughput by default.

    Returns:
        The run: ``frame``, ``headline``, ``figure()``, ``report(path)``, and its ``folder``.

    Raises:
        InputError: Something given is wrong; nothing has been measured.

    Example:
        >>> import torch
        >>> import vdbench
        >>> X, y = torch.randn(200, 4), torch.arange(200) % 3
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> found = vdbench.measure(net, ["naive", "local"], (X, y), out="runs/mine",
        ...                         variance={"first_units": 32, "max_units": 32})
        >>> found.failed, sorted(found.frame.label.unique())
        (0, ['local', 'naive'])
    """
    made = _problem(problem, data)
    asked = _asked(estimators)
    suite = {
        "name": name,
        "seed": seed,
        "level": level,
        "objective": objective,
        "precision": precision,
        "noise": noise,
        "threads": threads,
        "problems": [made],
        "checkpoints": list(checkpoints)
        if isinstance(checkpoints, list | tuple)
        else [checkpoints],
        "batch_sizes": _sizes(batch_size, made),
        "estimators": asked,
        "baseline": _baseline(baseline, asked),
        "measures": measures or DEFAULTS,
    }
    folder = default_folder(name) if out is None else Path(out)
    told = progress
    if isinstance(told, bool):
        told = automatic() if told else Quiet()
    try:
        return run(suite, folder, device=device, jobs=jobs, progress=told)
    except KeyboardInterrupt:
        told.note(f"interrupted; the same call with out='{folder}' goes on with what is measured.")
        raise


def _problem(problem: Any, data: Any) -> Problem:
    if isinstance(problem, Problem):
        if data is not None:
            raise InputError(
                f"measure: problem '{problem.name}' has its own data; expected data= with a module alone."
            )
        return problem
    if not isinstance(problem, nn.Module):
        raise InputError(
            f"measure: expected a problem (vdbench.noisy) or a torch.nn.Module, not {shown(problem)}."
        )
    if data is None:
        raise InputError("measure: a module needs data=, such as (X, y).")
    return noisy(problem, data, name="model")


def _asked(estimators: Any) -> list[Any]:
    """The estimators as a suite has them."""
    every = estimators if isinstance(estimators, list | tuple) else [estimators]
    for one in every:
        if not isinstance(one, str | Estimator | Mapping):
            raise InputError(
                f"measure: estimators: expected names or estimators, such as {NAMES}, not {shown(one)}; "
                "data are the third argument, or data=."
            )
    if not every:
        raise InputError(f"measure: estimators is empty; expected names, such as {NAMES}.")
    return [in_python.spec(one) if isinstance(one, Estimator) else one for one in every]


def _baseline(given: str | Estimator | None, asked: Sequence[Any]) -> str | Estimator:
    """What ratios are against: what is given, else naive, else the first; what is wrong is left to be refused."""
    if given is not None:
        return given
    try:
        specs = [EstimatorSpec(name=a) if isinstance(a, str) else EstimatorSpec(**a) for a in asked]
    except (TypeError, ValueError):
        return "naive"
    labels = [label(estimator) for spec in specs for estimator in expand(spec)]
    return "naive" if "naive" in labels else labels[0]


def _sizes(given: int | Sequence[int] | None, problem: Problem) -> list[int]:
    if given is None:
        return [min(BATCH, problem.examples)]
    return list(given) if isinstance(given, list | tuple | range) else [given]  # type: ignore[list-item]
