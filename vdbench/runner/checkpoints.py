"""Checkpoints: the parameters at which gradients are measured, trained once and cached."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vdbench.datasets.files import cache_folder
from vdbench.estimation.options import identity
from vdbench.noise import Key
from vdbench.problems.problem import Problem
from vdbench.store import atomic, digest
from vdbench.suite.grid import single
from vdbench.suite.schema import CheckpointSpec
from vdbench.training.trainer import VERSION, Trainer, load_parameters, train


def parameters(
    problem: Problem,
    spec: CheckpointSpec,
    seed: int,
    fingerprint: str,
    folder: Path,
    say: Callable[[str], None],
    origin: str | None = None,
) -> tuple[dict[str, Tensor], Path]:
    """Parameters at a checkpoint, and the file in the run folder that holds them.

    They are taken from the run folder, or from the user's cache, or trained. A training that was killed goes on
    from its last epoch.

    Args:
        problem: On its device, in its precision.
        spec: Which training; 0 epochs for initialisation.
        seed: The suite's.
        fingerprint: Of the problem.
        folder: ``RUN/checkpoints``.
        say: Told what is being trained.
        origin: Whose random numbers start and train it, the problem's own by default. Problems that have it in common
            start at the same weights, where their shapes agree, and train on the same minibatches.

    Raises:
        CellError: Training diverged.
    """
    origin = problem.name if origin is None else origin
    address = _address(problem, spec, seed, fingerprint, origin)
    name = f"{digest(address)}.npz"
    own = folder / name
    if not own.exists():
        key = Key(("vdbench", seed, origin, "checkpoint"))
        trainer = Trainer(
            problem=problem,
            estimator=single(spec.estimator),
            parameters=problem.initial(key),
            batch_size=spec.batch_size,
            learning_rate=spec.learning_rate,
            key=key,
        )
        cached = cache_folder() / "checkpoints" / name
        if spec.epochs:
            say(f"training {problem.name} for {spec.epochs} epochs with {address['estimator']}")
        if not cached.exists():
            _start_from_earlier(problem, spec, seed, fingerprint, origin, cached)
        train(trainer, spec.epochs, cached)
        if not spec.epochs:
            trainer.save(cached)
        with atomic(own) as temporary:
            shutil.copyfile(cached, temporary)
    saved = load_parameters(own)
    loaded = {n: torch.from_numpy(v.copy()).to(problem.device) for n, v in saved.items()}
    return loaded, own


def _start_from_earlier(
    problem: Problem,
    spec: CheckpointSpec,
    seed: int,
    fingerprint: str,
    origin: str,
    cached: Path,
) -> None:
    """Take over what the same training had reached after fewer epochs: every step has its own address."""
    for epochs in range(spec.epochs - 1, 0, -1):
        fewer = spec.model_copy(update={"epochs": epochs})
        earlier = cached.with_name(
            f"{digest(_address(problem, fewer, seed, fingerprint, origin))}.npz"
        )
        # a training under way holds fewer epochs than its name says, which is as good a start
        if earlier.exists():
            with atomic(cached) as temporary:
                shutil.copyfile(earlier, temporary)
            return


def _address(
    problem: Problem, spec: CheckpointSpec, seed: int, fingerprint: str, origin: str
) -> Mapping[str, Any]:
    """All that trained parameters depend on; without a training, the training's details do not count."""
    estimator = single(spec.estimator)
    training = {
        "estimator": estimator.declaration.name,
        "identity": identity(estimator),
        "epochs": spec.epochs,
        "batch_size": spec.batch_size,
        "learning_rate": spec.learning_rate,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    return {
        "kind": "checkpoint",
        "version": VERSION,
        "problem": fingerprint,
        "name": origin,
        "seed": seed,
        "precision": str(problem.dtype),
        "device": problem.device.type,
        "estimator": "",
        **(training if spec.epochs else {}),
    }
