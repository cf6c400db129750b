"""Addresses name blocks and checkpoints: where code lives, and what it is called inside, must not change them.

The golden values below were taken at version 0.1.0, before any module was moved. If one changes, every stored block
and checkpoint of its kind is orphaned without a word: raise a version, and say so in the changelog, or find what
changed by accident.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from memory_here import measure_here
from torch import nn

import vdbench
from vdbench import problems
from vdbench.datasets import Dataset, Split
from vdbench.problems.identity import _source, fingerprint
from vdbench.problems.likelihoods import Categorical
from vdbench.problems.priors import GaussianPrior
from vdbench.store import digest


class Own(nn.Module):
    """A network of a user's own; its source is part of its fingerprint."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.LayerNorm(8)
        self.out = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.norm(torch.tanh(self.conv(x)).flatten(1)))


def own() -> vdbench.Problem:
    """A convolutional network with fixed weights and data."""
    body = Own()
    for place, value in enumerate(body.parameters()):
        value.data = (torch.arange(value.numel()) % 11 - 5 + place).reshape(value.shape) / 8
    x = (torch.arange(10 * 16) % 13 - 6).reshape(10, 1, 4, 4) / 4
    split = Split(x, torch.arange(10) % 3)
    return vdbench.noisy(body, Dataset("own", split, split, 3))


PROBLEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "gaussian": ("classification", {"widths": [5]}),
    "dropout": (
        "classification",
        {"widths": [5], "parameterization": "theta-log_alpha", "prior": "log-uniform"},
    ),
    "binary": (
        "classification",
        {"widths": [5], "parameterization": "learned-binary", "prior": "bernoulli"},
    ),
    "point": ("classification", {"widths": [5], "parameterization": "point", "prior": "none"}),
    "toy": ("toy-cost", {}),
    "logistic": ("logistic-regression", {}),
}

FINGERPRINTS: dict[str, str] = {
    "binary": "1b234b06e01807839f9d799f7d20508c",
    "dropout": "898a5037706f29bf1639dff23a5ac4d1",
    "gaussian": "9bf6250aee528cab0892f52d75ee5f0a",
    "logistic": "919fe4027cc5b18aadde8bed89aa71c6",
    "own": "65ed3b19eefe1fe840dad2673e329c8c",
    "point": "6b35d34323f7bf95dc5622d7d102421f",
    "toy": "bf5c576fb194228f849e972f17cf5f6c",
}

SUITE = {
    "name": "addresses",
    "problems": [{"name": "p", "factory": "classification", "options": {"widths": [5]}}],
    "checkpoints": [{"epochs": 1, "estimator": "local", "batch_size": 256}],
    "batch_sizes": [8],
    "estimators": ["naive", "local", "per-example"],
    "baseline": "naive",
    "threads": 1,
    "measures": {
        "variance": {
            "first_units": 4, "max_units": 4, "few_examples": {"per-example": 2}, "data_from": "local",
        },
        "bias": {"units": 2, "draws": 1},
        "throughput": {"rounds": 8},
        "memory": {"repetitions": 2},
        "convergence": {"steps": 2, "seeds": 2, "evaluations": 1},
        "training": {"epochs": 1, "seeds": 2, "batch_size": 512, "evaluations": 1},
    },
}  # fmt: skip

INSTRUMENT = {
    **SUITE,
    "checkpoints": ["initial"],
    "estimators": ["naive", "local"],
    "measures": {
        "variance": {"first_units": 16, "max_units": 16},
        "bias": {"units": 2, "draws": 1},
        "throughput": {"rounds": 8},
        "convergence": {"steps": 2, "seeds": 2, "evaluations": 1},
        "coverage": {"repetitions": 2, "truth_units": 256, "trainings": 2, "passes": 2},
        "false_alarms": {"comparisons": 2},
        "power": {"comparisons": 2},
    },
}

# all but that of variance since version 2 of per-example, which is part of them
ADDRESSES: dict[str, str] = {
    "bias": "c38e464c09bece405ac6a2221526fe93",
    "convergence": "957ce2b21b074536e89cad506c1fde70",
    "few-examples": "17272c6078ee84f4be1c0bd9422a05cc",
    "independence": "37852bcd9bc65f9f69ab430bc871d450",
    "memory": "6e33a5d248534f2b3d7bc8b0870d6148",
    "throughput": "f4cbaae0ced7c2b4e7d96fa3b20fb62c",
    "training": "e082e29198e324fabb1311635733fdd9",
    "variance": "294d7933d2597c4359c2c64fcc4b8064",
}

INSTRUMENT_ADDRESSES: dict[str, str] = {
    "bias": "d71eb5b5a5df5284c4668fa13af0c85d",
    "convergence": "7e33eaca716cd4de9f4f7a8ac61bac6d",
    "instrument.bias": "89f82d7a12b9b95c26a4ee162e2bb521",
    "instrument.passes": "e428f6dc4c08361d336e7011476e94f8",
    "instrument.runs": "eeabdf49a68d18662b773bc1bdb2ae6c",
    "instrument.trainings": "91c056c2c3acc90fc1f237837ef99585",
    "instrument.truth": "3eaa11e406288a32fd5b2e510ce45237",
    "throughput": "d1403aef9338fd1becc31cdf4bac9faa",
    "variance": "bf433f22a729248ecf608049b8bd8105",
}

# since version 2 of trainings
CHECKPOINTS: list[str] = ["3f8b0663874ec25f665abf085b7bba71"]


@pytest.mark.parametrize("name", [*PROBLEMS, "own"])
def test_fingerprints_are_what_they_were(name: str) -> None:
    problem = own() if name == "own" else problems.build(name, *PROBLEMS[name])
    assert fingerprint(problem) == FINGERPRINTS[name]


def test_parts_of_vdbench_have_names_of_their_own() -> None:
    """A class that is moved to another module keeps its name; one that is new has one without a module."""

    def moved(cls: type) -> str:
        other = type(cls.__name__, (), {"__module__": "vdbench.somewhere.else_"})
        return _source(other)

    for part in (GaussianPrior, Categorical, Split):
        assert moved(part) == _source(part)
    assert _source(Split) == "vdbench.Split"


def addresses(folder: Path) -> dict[str, str]:
    """Digest of the addresses of all blocks of each measure.

    Parameters differ in their last bits from processor to processor, and torch's version from machine to machine:
    both are left out.
    """
    found: dict[str, list[str]] = {}
    for path in sorted((folder / "blocks").glob("*.parquet")):
        address = json.loads(pq.read_schema(path).metadata[b"vdbench"])
        assert digest(address) == path.stem
        plain = {**address, "torch": "", **({"parameters": ""} if "parameters" in address else {})}
        found.setdefault(address["measure"], []).append(digest(plain))
    return {measure: digest({"blocks": sorted(blocks)}) for measure, blocks in found.items()}


def test_blocks_and_checkpoints_are_named_as_they_were(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "__version__", "golden")  # part of a checkpoint's name
    measure_here(monkeypatch)
    done = vdbench.run(SUITE, elsewhere / "run")
    assert not done.failed
    assert addresses(elsewhere / "run") == ADDRESSES
    files = sorted(path.stem for path in (elsewhere / "run" / "checkpoints").iterdir())
    assert files == CHECKPOINTS


def test_blocks_of_the_instrument_are_named_as_they_were(elsewhere: Path) -> None:
    done = vdbench.run(INSTRUMENT, elsewhere / "run")
    assert not done.failed
    assert addresses(elsewhere / "run") == INSTRUMENT_ADDRESSES
