"""What travels to a machine that does jobs of a run, and the receipt that comes back; what an engine is."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import cloudpickle
import numpy as np
import torch

from vdbench import __version__
from vdbench.estimation import registry
from vdbench.runner.bench import Job
from vdbench.suite.schema import Suite


@dataclass(frozen=True)
class Order:
    """What a process elsewhere needs to do jobs of a run.

    Attributes:
        key: Of this session of the run; a process keeps what it has opened for it.
        identity: A hash of what makes the run this run.
        suite: What is asked for.
        folder: The run folder, absolute; all machines see it, unless there is a URL.
        url: fsspec URL of blocks, checkpoints and trainings; '' for none.
        device: Where gradients are computed.
        only: Estimators that were chosen, by name.
        allowed: Code that the user let the suite run.
        plugins: Names and contents of files of estimators.
        others: Estimators that have no file, packed by cloudpickle, by name.
        held: Problems that were handed over as objects, by name, packed by cloudpickle.
        threads: Torch's own number of threads in the run's process: the same everywhere.
        versions: Of what must be the same.
    """

    key: str
    identity: str
    suite: Suite
    folder: str
    url: str
    device: str
    only: tuple[str, ...]
    allowed: tuple[str, ...]
    plugins: tuple[tuple[str, bytes], ...]
    others: Mapping[str, bytes]
    held: bytes
    threads: int
    versions: Mapping[str, str]


class Receipt(NamedTuple):
    """What became of jobs that were done elsewhere.

    Attributes:
        cells: As ``run.json`` says it.
        untrained: Checkpoints that could not be trained, ``problem`` and ``checkpoint``, with the cause.
        files: Blocks, checkpoints and trainings that were read or written, as ``blocks/NAME``.
        damaged: Files that were set aside.
        said: Lines for the user.
        machine: Where: ``host``, and its ``environment``.
    """

    cells: list[dict[str, Any]]
    untrained: list[tuple[str, str, str]]
    files: list[str]
    damaged: list[dict[str, str]]
    said: list[str]
    machine: dict[str, Any]


def versions() -> dict[str, str]:
    """Versions here of what must be the same on all machines."""
    python = ".".join(map(str, sys.version_info[:2]))
    found = {"vdbench": __version__, "torch": torch.__version__, "numpy": np.__version__}
    return {**{name: str(version) for name, version in found.items()}, "Python": python}


def packed() -> dict[str, bytes]:
    """Estimators of this process that have no file, for another machine; those that cannot travel are left out."""
    found = {}
    for name, cls in registry.others().items():
        with contextlib.suppress(Exception):
            found[name] = cloudpickle.dumps(cls, protocol=5)
    return found


Took = Callable[[Sequence[str], Receipt | str], None]
"""Takes what became of the jobs of some names: a receipt, or in words why there is none."""


class Engine(Protocol):
    """Has jobs done on other machines.

    Attributes:
        name: As ``--engine`` calls it.
        url: fsspec URL where machines leave what they measure; '' where all see the run folder.
    """

    name: str
    url: str

    def do(self, order: Order, todo: Sequence[Job], took: Took, say: Callable[[str], None]) -> None:
        """Have jobs done; a job whose checkpoint is trained by another begins after it.

        Args:
            order: What the machines need.
            todo: The jobs; those that train checkpoints are before those that need them.
            took: Told what became of each.
            say: Told what the user should know.

        Raises:
            InputError: The engine cannot be used.
        """
        ...
