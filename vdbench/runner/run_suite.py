"""Run a suite: what a call or the command line asks for, checked, and a `Run` of it.

All else is imported by the call: until then a process may have computed nothing (`vdbench.runner.early`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vdbench.runner import early

if TYPE_CHECKING:
    from vdbench.measures.progress import Progress
    from vdbench.runner.finished import Finished
    from vdbench.suite.schema import Suite


def run(
    source: str | Path | Mapping[str, Any] | Suite,
    out: str | Path | None = None,
    *,
    device: str = "cpu",
    settings: Sequence[str] = (),
    only: Sequence[str] = (),
    plugins: Sequence[str | Path] = (),
    allow: Sequence[str] = (),
    progress: Progress | None = None,
    command: str = "",
    stored_only: bool = False,
    isolate: bool = True,
    jobs: int = 1,
    engine: str = "local",
    engine_options: Mapping[str, Any] | None = None,
    share: str = "",
) -> Finished:
    """Run a suite, or go on with one, and write ``results.parquet``.

    Args:
        source: Name of a bundled suite, path of a YAML file, the suite as a mapping, or a suite that was checked. An
            item of a mapping's ``problems`` may be a `Problem`, or a mapping with a problem, or a module and its data,
            as ``{"name": "mine", "problem": (module, data)}``; an estimator may stand where its name may.
        out: Run folder; a folder that holds the same suite's run is gone on with. Default ``runs/SUITE-TIME``.
        device: ``cpu``, ``cuda`` or ``auto``.
        settings: ``key=value`` changes to the suite.
        only: Names or labels of the estimators to run; the baseline is always among them.
        plugins: Python files that register estimators.
        allow: Modules, or factories as ``package.module:factory``, that a suite's file may run as a problem. A suite
            given as a mapping may run what it names: it is code already.
        progress: Told what is done; nothing by default.
        command: How to reproduce the run, as recorded in ``run.json``.
        stored_only: Measure and train nothing: make the table of what the folder has; other cells fail.
        isolate: Measure each estimator in a process of its own, so that none can change another's figures or end the
            run. False: all in this process, which ``run.json`` and the report then say.
        jobs: Cells that are measured at a time. What measures seconds or bytes is measured alone. No value depends on
            this number.
        engine: Who measures: ``local`` (this machine), ``ray`` or ``slurm``. No value depends on it.
        engine_options: What the engine is told, as `vdbench.runner.engines` lists it.
        share: fsspec URL, as ``s3://bucket/mine``, where machines that see no common folder leave what they measure.

    Raises:
        InputError: Something given is wrong; nothing has been measured.

    Example:
        >>> import vdbench
        >>> finished = vdbench.run({
        ...     "name": "mine",
        ...     "problems": [{"name": "digits", "options": {"widths": []}}],
        ...     "batch_sizes": [16],
        ...     "estimators": ["naive", "local"],
        ...     "baseline": "naive",
        ...     "measures": {"variance": {"first_units": 16, "max_units": 16}},
        ... }, "runs/mine")
        >>> table = finished.results  # pandas, one row a metric value
        >>> ratio = table[(table.metric == "ratio.variance.total") & (table.layer == "all")]
        >>> sorted(ratio.label.unique())
        ['local', 'naive']
    """
    if isolate:
        early.start()
    from vdbench.runner import engines
    from vdbench.runner.prepare import prepared, using_threads

    made, threads = prepared(
        source, out, device, settings, only, plugins, allow, progress, stored_only, isolate, jobs
    )
    made.engine = engines.named(engine, engine_options, share, isolate)
    with using_threads(threads):
        return made.all(command)


def work(
    source: str | Path | Mapping[str, Any] | Suite,
    out: str | Path,
    index: int,
    of: int,
    *,
    device: str = "cpu",
    settings: Sequence[str] = (),
    only: Sequence[str] = (),
    plugins: Sequence[str | Path] = (),
    allow: Sequence[str] = (),
    progress: Progress | None = None,
    isolate: bool = True,
    jobs: int = 1,
) -> Finished:
    """Measure one of several parts of a suite into a folder that they share; `run` on that folder then ends it.

    Args:
        source: As of `run`, and so are all that are not described here.
        out: The folder, which all parts see.
        index: Which part, from 0.
        of: How many parts.
        device: As of `run`.
        settings: As of `run`.
        only: As of `run`.
        plugins: As of `run`.
        allow: As of `run`.
        progress: As of `run`.
        isolate: As of `run`.
        jobs: As of `run`, on this machine.

    Returns:
        The folder, and how many cells of this part failed; there is no table yet.

    Raises:
        InputError: As of `run`; or there is no such part.
    """
    if isolate:
        early.start()
    from vdbench.runner.prepare import prepared, using_threads
    from vdbench.runner.receipts import numbered

    part = numbered(index, of)
    made, threads = prepared(
        source, out, device, settings, only, plugins, allow, progress, False, isolate, jobs
    )
    made.part = part
    with using_threads(threads):
        return made.all("")
