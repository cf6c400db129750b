"""A suite's run opened for its estimators to be asked, in any order, without measuring a cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from vdbench.measures.progress import Progress
from vdbench.problems.problem import Problem
from vdbench.runner.hands import Hands
from vdbench.runner.prepare import prepared, using_threads
from vdbench.suite.schema import Suite


@contextmanager
def asking(
    suite: Suite,
    out: Path,
    *,
    held: Mapping[str, Problem],
    device: str = "cpu",
    plugins: Sequence[str | Path] = (),
    allow: Sequence[str] = (),
    progress: Progress | None = None,
    isolate: bool = True,
) -> Iterator[Hands]:
    """Open folder and processes; what is asked may store blocks, which a run of the suite on the folder finds.

    Args:
        suite: Whose estimators and places.
        out: The run folder.
        held: Problems that are built already, by name.
        device: As of `run`, and so are the others.
        plugins: As of `run`.
        allow: As of `run`.
        progress: As of `run`.
        isolate: As of `run`.

    Raises:
        InputError: As of `run`.
    """
    made, threads = prepared(
        suite, out, device, (), (), plugins, allow, progress, False, isolate, 1
    )
    made.held = held
    with using_threads(threads):
        try:
            made.begin("")
            yield made.hands
            made.record.try_to_save()
        finally:
            made.end()
