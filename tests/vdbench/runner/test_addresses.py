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

ADDRESSES: dict[str, str] = {
    "bias": "33f92037b823437d737699e6f6798b4e",
    "convergence": "734ac7d5688ee44a69e1f21f3fd6f8bd",
    "few-examples": "880fc6bbb6995da608fe9e777ef3f7c4",
    "memory": "37bf5c6bee512aed9ffaa31803ac6013",
    "throughput": "46ff717af8960f06898e9f841a33c26c",
    "training": "be4d404a7067ae2dd05869feeb4342c8",
    "variance": "f610096a14ddf85f565e6b34a0842a22",
}

INSTRUMENT_ADDRESSES: dict[str, str] = {
    "bias": "130641a3ccdd37d43370e12f9aa03de2",
    "convergence": "e0b2b1edb6a9d1566658f05869b04320",
    "instrument.bias": "0463fa529948255502034635d06eff75",
    "instrument.passes": "903dadc3bec1f7e02d30eca7936ade70",
    "instrument.runs": "85b265c25a5d3a5db6f081640050f339",
    "instrument.trainings": "b8d4969d5892e7dc7e4dc9aa01144b4d",
    "instrument.truth": "3c1c2bf81f4c56b96edc4eb86e0bea29",
    "throughput": "5ef60a74c401d711409a53d14ddbd764",
    "variance": "9bfe05a04ed6596d79b5493d84842e88",
}

CHECKPOINTS: list[str] = ["f5253048084885da86a9bc6bcbf627d5"]


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
    done = vdbench.run(SUITE, elsewhere / "run")
    assert not done.failed
    assert addresses(elsewhere / "run") == ADDRESSES
    files = sorted(path.stem for path in (elsewhere / "run" / "checkpoints").iterdir())
    assert files == CHECKPOINTS


def test_blocks_of_the_instrument_are_named_as_they_were(elsewhere: Path) -> None:
    done = vdbench.run(INSTRUMENT, elsewhere / "run")
    assert not done.failed
    assert addresses(elsewhere / "run") == INSTRUMENT_ADDRESSES
