"""Three networks of ordinary size, and the relative bias that an entry of the zoo has there.

``python tests/zoo/zoo_networks.py OUT`` writes one JSON line a defect: on each network the largest relative bias over
the roles, √(⟨d₁, d₂⟩/⟨r₁, r₂⟩) of two independent halves, d the mean difference from a textbook sampler r. Roles whose
own gradient the draws do not show clearly are left out; None where there is none.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from zoo import DEFECTS, Entry

from vdbench.certificate.stages.moments import MeanOfRows
from vdbench.certificate.stages.sampled import Textbook
from vdbench.estimation.base import Estimator, objective
from vdbench.estimation.draws import gather, gradients, minibatch, trace
from vdbench.noise import Key
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.problem import Batch, Problem

DRAWS = 256
"""In each half."""


@functools.cache
def networks() -> dict[str, tuple[Problem, int]]:
    """A dense network and a convolutional one on digits, and a regression on sequences; with M."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        dense = nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        convolution = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 8, 3, stride=(2, 1), padding=1), nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding="same", dilation=(2, 1), groups=2), nn.ReLU(),
            nn.Flatten(), nn.Linear(256, 10),
        )  # fmt: skip
        sequence = nn.Sequential(
            nn.Linear(8, 16, bias=False), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), MeanOfRows(),
            nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 3),
        )  # fmt: skip
        x = torch.randn(300, 6, 8)
        y = x.mean(1) @ torch.randn(8, 3) + 0.1 * torch.randn(300, 3)
    return {
        "dense": (noisy(dense, "digits", name="dense", parameterization=MeanLogVariance(0.3)), 32),
        "convolution": (
            noisy(
                convolution, "digits", name="convolution",
                parameterization=ThetaLogAlpha(alpha=2.0, per="output"),
            ),
            50,
        ),
        "sequence": (
            noisy(
                sequence, (x, y), name="sequence", likelihood="regression",
                parameterization=ThetaLogAlpha(alpha=0.5, per="input"),
            ),
            130,
        ),
    }  # fmt: skip


def _batch(problem: Problem, size: int) -> Batch:
    return gather(problem, minibatch(problem, size, Key(("zoo", problem.name))))


def _means(estimator: Estimator, name: str, key: Key) -> tuple[dict[str, Tensor], ...]:
    """Mean gradients of two halves, by parameter, and the mean square of the first's error."""
    problem, size = networks()[name]
    parameters = problem.initial(Key(("zoo", name)))
    batch = _batch(problem, size)
    state = estimator.fit(problem, parameters, key / "fit")
    traced = trace(estimator, problem, parameters, batch, state)
    halves = []
    for half in (1, 2):
        total: dict[str, Tensor] = {}
        for start in range(0, DRAWS, 32):
            keys = [key / half / k for k in range(start, start + 32)]
            batches = Batch(*(t.expand(32, *t.shape) for t in batch))
            found = gradients(estimator, problem, parameters, batches, keys, traced, state)
            for parameter, g in found.gradients.items():
                total[parameter] = total.get(parameter, 0) + g.double().sum(0) / DRAWS
        halves.append(total)
    return tuple(halves)


@functools.cache
def _reference(name: str, own: str) -> tuple[dict[str, Tensor], ...]:
    return _means(Textbook(own), name, Key(("zoo", "reference", name, own)))


def bias(entry: Entry, name: str) -> float | None:
    """The largest relative bias over the roles of one network."""
    problem, _ = networks()[name]
    right = _reference(name, objective(entry.estimator, problem))
    found = _means(entry.estimator, name, Key(("zoo", entry.name, name)))
    worst = None
    for group in dict.fromkeys(problem.groups[n] for n in right[0]):
        names = [n for n in right[0] if problem.groups[n] == group]

        def flat(part: dict[str, Tensor], names: list[str] = names) -> Tensor:
            return torch.cat([part[n].flatten() for n in names])

        r1, r2, g1, g2 = map(flat, (*right, *found))
        size, apart = float(r1 @ r2), float((r1 - r2).square().sum()) / 2
        if size < 4 * apart:
            continue  # the gradient itself is not seen
        gap = float((g1 - r1) @ (g2 - r2)) / size
        worst = max(worst or 0.0, max(gap, 0.0) ** 0.5)
    return worst


def main() -> None:
    """Every defect on every network; goes on where OUT ends."""
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    done = {json.loads(x)["name"] for x in out.read_text().splitlines()} if out.exists() else set()
    for name, entry in DEFECTS.items():
        if name in done:
            continue
        row: dict[str, object] = {"name": name}
        for network in networks():
            try:
                row[network] = bias(entry, network)
            except Exception as error:  # what breaks there is said
                row[network] = f"{type(error).__name__}"
        with out.open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
