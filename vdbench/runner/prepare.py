"""What a call or the command line asks for, checked: a run that may begin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from vdbench import problems, workers
from vdbench.arithmetic import ROUNDED
from vdbench.errors import InputError, nearest
from vdbench.estimation import registry
from vdbench.measures import registry as measures
from vdbench.measures.progress import Progress, Quiet
from vdbench.measures.session import Session
from vdbench.modes import registry as modes
from vdbench.problems import given
from vdbench.problems.problem import Problem
from vdbench.runner import plan
from vdbench.runner.execution import Run
from vdbench.store import Ledger, Store
from vdbench.suite import in_python, overrides
from vdbench.suite.schema import Suite

MOST_JOBS = 1024


def prepared(
    source: str | Path | Mapping[str, Any] | Suite,
    out: str | Path | None,
    device: str,
    settings: Sequence[str],
    only: Sequence[str],
    plugins: Sequence[str | Path],
    allow: Sequence[str],
    progress: Progress | None,
    stored_only: bool,
    isolate: bool,
    jobs: int,
) -> tuple[Run, int | None]:
    """A run that may begin, and the threads that its suite asks for."""
    if isinstance(jobs, bool) or not isinstance(jobs, int) or not 1 <= jobs <= MOST_JOBS:
        raise InputError(f"--jobs {jobs}: expected a whole number from 1 to {MOST_JOBS}.")
    where = resolve_device(device)
    files = [str(Path(plugin).resolve()) for plugin in plugins]
    for plugin in plugins:
        registry.load_plugin(plugin)
    held: dict[str, Problem] = {}
    if isinstance(source, Mapping):
        source, held = in_python.plain(source)
    checked = source if isinstance(source, Suite) else measures.load(source, settings)
    refuse(checked, where)
    named = allowed(source, checked, settings, plugins, allow)
    chosen = plan.estimators(checked, tuple(only))
    folder = Path(out) if out is not None else default_folder(checked.name)
    told = progress or Quiet()
    store = Store(folder / "blocks", Ledger(folder, told.note), not stored_only)
    session = Session(checked, store, folder, where, told, files)
    why = workers.possible() if isolate else "it was asked for (isolate=False)"
    made = Run(session, chosen, tuple(only), named, why, jobs, held=held)
    return made, checked.threads


def refuse(suite: Suite, device: torch.device) -> None:
    """See that the device has the suite's modes, and can be timed in its precision.

    Raises:
        InputError: It has not, or cannot.
    """
    modes.refuse(suite.modes, device)
    timed = [measure.name for measure in measures.asked(suite) if measure.alone]
    if suite.precision in ROUNDED and device.type != "cuda" and timed:
        raise InputError(
            f"suite '{suite.name}': precision '{suite.precision}' is imitated on a CPU, which says nothing of seconds "
            f"or bytes, and the suite asks for {timed[0]}; expected precision float32 or float64, --device cuda, or a "
            f"suite without {', '.join(timed)}."
        )


def allowed(
    source: str | Path | Mapping[str, Any] | Suite,
    suite: Suite,
    settings: Sequence[str] = (),
    plugins: Sequence[str | Path] = (),
    allow: Sequence[str] = (),
) -> list[str]:
    """See that a suite runs only what the user named; nothing is imported.

    Returns:
        The modules and factories that the user named, as ``run.json`` records them.

    Raises:
        InputError: It would run something else; says what to add to the command line.
    """
    named = [*allow, *overrides.factories(settings), *(Path(plugin).stem for plugin in plugins)]
    factories = {spec.name: spec.factory for spec in suite.problems}
    if isinstance(source, Mapping):
        known = (*problems.FACTORIES, given.GIVEN)
        named += [factory for factory in factories.values() if factory not in known]
    problems.need_allowed(f"suite '{suite.name}'", factories, named)
    return sorted({*named} - {Path(plugin).stem for plugin in plugins})


@contextmanager
def using_threads(count: int | None) -> Iterator[None]:
    """Let torch use so many threads within; None leaves it as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def resolve_device(name: str) -> torch.device:
    """The device meant by ``cpu``, ``cuda`` or ``auto``.

    Raises:
        InputError: The name is unknown, or there is no usable GPU.
    """
    known = ("cpu", "cuda", "auto")
    if name not in known:
        raise InputError(f"device '{name}' is unknown.{nearest(name, known)}")
    usable = torch.cuda.is_available()
    if name == "cuda" and not usable:
        raise InputError(
            "device 'cuda': torch finds no usable GPU here. Expected one of: cpu, auto."
        )
    return torch.device("cuda" if usable and name != "cpu" else "cpu")


def default_folder(name: str) -> Path:
    """``runs/<suite>-<time>``, a folder that does not exist yet."""
    stem = f"{name}-{datetime.now().strftime('%Y%m%d-%H%M%S')}"
    folder, count = Path("runs") / stem, 1
    while folder.exists():
        count += 1
        folder = Path("runs") / f"{stem}-{count}"
    return folder
