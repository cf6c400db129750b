"""A certificate on the user's own problem: right ones pass, wrong ones fail, and what has no reference is refused."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vdbench
from estimators.local import Local, safe_sqrt
from vdbench import cli
from vdbench.certificate import check
from vdbench.errors import InputError
from vdbench.estimation.base import Gradient
from vdbench.estimation.options import get
from vdbench.noise import Noise
from vdbench.problems.dropout import LearnedBinary
from vdbench.problems.gaussian import MeanLogVariance
from vdbench.problems.layers import Layer
from vdbench.problems.posterior import Posterior
from vdbench.problems.priors import NoPrior
from vdbench.problems.problem import Problem

pytestmark = pytest.mark.usefixtures("elsewhere", "one_thread")


def own(**more: Any) -> Problem:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(70, 3, generator=generator)
    y = x.sum(1, keepdim=True) + 2 * torch.randn(70, 2, generator=generator)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    given: dict[str, Any] = {"parameterization": MeanLogVariance(1.0), **more}
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(torch.randn(value.shape, generator=generator))
    return vdbench.noisy(net, (x, y), name="mine", likelihood="regression", **given)


@dataclass(frozen=True)
class Half(Local):
    """Half the gradient in σ."""

    declared = replace(Local.declared, name="half")

    def __call__(self, *args: Any, **more: Any) -> Gradient:
        g = super().__call__(*args, **more)
        return Gradient(
            g.value,
            {n: v / 2 if n.endswith("log_variance") else v for n, v in g.gradients.items()},
        )


@dataclass(frozen=True)
class Table(Local):
    """A table of 16 rows of noise, tiled over the minibatch."""

    declared = replace(Local.declared, name="table")

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        mean = layer.linear(x, q.mean)
        rows = noise(layer.name, (16, mean.shape[1]))[torch.arange(len(x)) % 16]
        return mean + safe_sqrt(layer.squared(x, q.variance)) * rows


def test_a_right_one_is_not_accused_and_says_its_power_everywhere() -> None:
    found = check(get("local"), problem=own(), batch_size=32, draws=2048)
    assert not found.failed, found.text(verbose=True)
    biases = [f for f in found.findings if f.test == "unbiased"]
    assert len(biases) == 6
    assert all(f.power is not None and f.low is not None for f in biases)
    assert {f.test for f in found.findings} == {"unbiased", "minibatch law"}


def test_wrong_ones_fail() -> None:
    found = check(Half(), problem=own(), batch_size=32, draws=2048)
    assert {f.where.rpartition(", ")[2] for f in found.failed} == {"scale"}, found.text(True)
    assert "It fails" not in found.summary()


def test_a_table_of_noise_that_is_used_again_is_seen_at_the_minibatch_in_use() -> None:
    small = check(Table(), problem=own(), batch_size=16, draws=256)
    assert not [f for f in small.failed if f.test == "minibatch law"]
    large = check(Table(), problem=own(), batch_size=32, draws=256)
    assert [f for f in large.failed if f.test == "minibatch law"], large.text(True)
    assert "not independent" in large.diagnosis


def test_what_has_no_reference_is_refused() -> None:
    masks = own(parameterization=LearnedBinary(), prior=NoPrior())
    with pytest.raises(InputError, match="whose law is learned"):
        check(get("arm"), problem=masks)
    with pytest.raises(InputError, match="batch size 71 is not between 1 and its 70"):
        check(get("local"), problem=own(), batch_size=71)


FACTORY = """
import torch
import vdbench

def make():
    net = torch.nn.Sequential(torch.nn.Linear(3, 2))
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    return vdbench.noisy(net, (x, x[:, :2]), name="mine", likelihood="regression")
"""


def test_the_command_line_runs_no_code_that_was_not_allowed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own_code.py").write_text(FACTORY)
    words = ["vdbench", "check", "local", "--problem", "own_code:make", "--batch-size", "8"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "--allow own_code" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*words, "--allow", "own_code", "--draws", "256"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    assert capsys.readouterr().out.startswith("local: ")
