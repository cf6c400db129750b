"""Does a draw belong to its noise alone: the same key, the same bits, whatever any global generator does?"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from vdbench.certificate.compare import copied, same
from vdbench.certificate.finding import Finding
from vdbench.certificate.protocol import Asked, Check, each_stage
from vdbench.certificate.reference_problems import Stage, kind
from vdbench.certificate.sampling import Draws, Subject

NAME = "repeatable"


def ask(subject: Subject) -> Iterable[Asked]:
    """Findings on the network with kinks."""
    names = [kind(subject.estimator).network]
    return each_stage(NAME, names, subject, lambda at: _findings(subject, at))


def _findings(subject: Subject, at: Stage) -> list[Finding]:
    drawn, key = subject.on(at), subject.key / NAME
    first = drawn.one(key)
    kept = copied(first)
    others = [drawn.one(key / k) for k in range(3)]
    fresh = drawn.noiseless or not any(same(first, other) for other in others)
    return [
        _said("same key, same bits", same(drawn.one(key), kept),
              "something remembers earlier draws, or draws from elsewhere than its noise."),
        _said("other keys, other numbers", fresh, "the noise given is not used."),
        _said("earlier results stay", same(first, kept),
              "a buffer that was returned is written over by the next draw: return new tensors."),
        _generators(drawn, key),
    ]  # fmt: skip


def _generators(drawn: Draws, key: Any) -> Finding:
    """The same draw under two seeds of every global generator, which are to stay as they were."""
    state = random.getstate(), np.random.get_state()
    found, moved = [], []
    try:
        for seed in (1, 2):
            with torch.random.fork_rng(devices=_devices(drawn)):
                _seed(seed)
                before = _states(drawn)
                found.append(copied(drawn.one(key)))
                moved += [n for n, v in _states(drawn).items() if v != before[n]]
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])
    note = f"it draws from the global generator of {moved[0]}" if moved else ""
    if not moved and not same(*found):
        note = "it depends on a global generator"
    return Finding(
        NAME, "global generators", not note, note=note or "torch, numpy and python are left alone",
        suggests="take every number from the noise that is given." if note else "",
    )  # fmt: skip


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def _states(drawn: Draws) -> dict[str, bytes | int]:
    """A digest of each generator's state."""
    states: dict[str, bytes | int] = {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": hash(str(np.random.get_state())),
        "python": hash(random.getstate()),
    }
    for device in _devices(drawn):
        states["torch on the GPU"] = torch.cuda.get_rng_state(device).numpy().tobytes()
    return states


def _devices(drawn: Draws) -> list[torch.device]:
    device = drawn.stage.problem.device
    return [device] if device.type == "cuda" else []


def _said(where: str, holds: bool, suggests: str) -> Finding:
    return Finding(NAME, where, holds, suggests="" if holds else suggests)


CHECK = Check(NAME, "a draw belongs to its key; global generators are left alone", ask)
