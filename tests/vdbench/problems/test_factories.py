"""Problems by name, problems of the user's own, and the fingerprint that names their figures."""

from __future__ import annotations

import copy
import dataclasses
import importlib.machinery
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vdbench import datasets, problems
from vdbench.datasets import Dataset, Split
from vdbench.errors import InputError
from vdbench.noise import Key, stream
from vdbench.problems import build, classification
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.identity import fingerprint
from vdbench.problems.likelihoods import GaussianNoise
from vdbench.problems.priors import GaussianPrior, LogUniformPrior
from vdbench.problems.problem import Problem

ROOT = Path(problems.__file__).resolve().parents[2]
KEY = Key(("tests", "problems"))

OWN = """\
import torch
from torch import nn
import vdbench
from vdbench.datasets import Dataset, Split

CONSTANT = 3

class Loss:
    def __call__(self, outputs, targets):
        return -(outputs - targets).square().sum(1)

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = nn.Linear(2, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        return self.norm(self.body(x))

def make(width=2, shift=0.0):
    x = torch.arange(12.0).reshape(6, 2) + shift
    data = Dataset("own", Split(x, x.clone()), Split(x, x.clone()), 2)
    net = nn.Sequential(Block(width), nn.Linear(width, 2))
    with torch.no_grad():
        for value in net.parameters():
            value.fill_(0.5)
    return vdbench.noisy(net, data, likelihood=Loss())

def wrong():
    return [1, 2]

def raises(width=1):
    raise ValueError("width is odd")

def refuses():
    return vdbench.noisy(nn.Sequential(nn.ReLU()), "digits")

def anything(**options):
    return make(**options)

def required(width):
    return make(width)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's own in the current folder, and only there."""
    name = "vdbench_test_own_problem"
    (tmp_path / f"{name}.py").write_text(OWN)
    (tmp_path / "vdbench_test_attribute.py").write_text("import torch\ntorch.no_such_thing\n")
    (tmp_path / "vdbench_test_syntax.py").write_text("def (\n")
    (tmp_path / "vdbench_test_import.py").write_text("import no_such_package\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for module in [m for m in sys.modules if m.startswith("vdbench_test_")]:
        monkeypatch.delitem(sys.modules, module)
    return name


def test_classification_is_a_relu_network_on_its_data() -> None:
    problem = build("mine", "classification", {"dataset": "digits", "widths": [16, 8]})
    assert problem.name == "mine"
    assert [(x.name, x.weight_shape) for x in problem.layers] == [
        ("fc1", (16, 64)),
        ("fc2", (8, 16)),
        ("fc3", (10, 8)),
    ]
    assert [type(m).__name__ for m in problem.module.children()][1::2] == ["ReLU", "ReLU"]
    assert classification(widths=(16, 8)).name == "digits-64-16-8-10"
    assert [x.name for x in build("linear", "classification", {"widths": []}).layers] == ["fc1"]


@pytest.mark.parametrize("flat", [False, True])
def test_classification_flattens_images_and_leaves_flat_inputs_alone(
    flat: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is the same function of the pixels; flat inputs get no layer more, so fingerprints stay."""
    images = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    split = Split(images.flatten(1) if flat else images, torch.arange(6) % 2)
    monkeypatch.setattr(datasets, "load", lambda _: Dataset("images", split, split, 2))
    problem = classification("images", (5,))
    assert problem.name == "images-48-5-2"
    kinds = [type(part).__name__ for part in problem.module.children()]
    assert kinds[not flat :] == ["NoisyModule", "ReLU", "NoisyModule"]
    assert kinds[: not flat] == ["Flatten"] * (not flat)

    parameters = problem.initial(KEY)
    first, second = (problem.posterior(layer, parameters).mean for layer in problem.layers)
    outputs = problem.outputs(
        lambda layer, x: layer.linear(x, problem.posterior(layer, parameters).mean),
        split.inputs,
        parameters,
    )
    # biases start at zero
    torch.testing.assert_close(outputs, (images.flatten(1) @ first.T).relu() @ second.T)


def test_building_twice_gives_the_same_start_and_draws_from_no_global_generator() -> None:
    before = torch.random.get_rng_state()
    one, other = (classification(widths=(5,)).initial(KEY) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert all(bool(value.isfinite().all()) for value in one.values())


def test_options_reach_posterior_and_prior() -> None:
    options = {
        "widths": [3],
        "parameterization": {"kind": "theta-log_alpha", "alpha": 0.2, "learned": False},
        "prior": "log-uniform",
    }
    problem = build("mine", "classification", options)
    assert problem.parameterization == ThetaLogAlpha(0.2, False)
    assert problem.prior == LogUniformPrior()


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        ("clasification", {}, "factory 'clasification' is unknown. Did you mean 'classification'? One of your own"),
        ("zzz", {}, "factory 'zzz' is unknown. Expected one of: classification, logistic-regression, regression, toy"),
        ("classification", {"width": [3]}, "classification has no option 'width'. Did you mean 'widths'?"),
        ("classification", {"widths": [0]}, "widths must be a list of whole numbers above 0, not [0]."),
        ("classification", {"widths": 32}, "widths must be a list of whole numbers above 0, not 32."),
        ("classification", {"widths": [True]}, "widths must be a list of whole numbers above 0, not [True]."),
        ("classification", {"widths": "ab"}, "widths must be a list of whole numbers above 0, not 'ab'."),
        ("classification", {"dataset": 3}, "dataset must be a name, not 3."),
        ("classification", {"dataset": "digit"}, "Did you mean 'digits'?"),
        ("classification", {"prior": "gausian"}, "Did you mean 'gaussian'?"),
        ("classification", {"parameterization": {"kind": "mean-log_variance", "sigma": 0}}, "sigma of the"),
        ("vdbench_test_absent:make", {}, "there is no module 'vdbench_test_absent'."),
        ("vdbench_test_import:make", {}, "there is no module 'no_such_package'."),
        ("vdbench_test_syntax:make", {}, "importing 'vdbench_test_syntax' failed with SyntaxError"),
        ("vdbench_test_attribute:make", {}, "importing 'vdbench_test_attribute' failed with AttributeError"),
        (":make", {}, "importing '' failed with ValueError"),
        ("vdbench_test_own_problem:mak", {}, "module 'vdbench_test_own_problem' has no 'mak'."),
        ("vdbench_test_own_problem:CONSTANT", {}, "vdbench_test_own_problem:CONSTANT is no function."),
        ("vdbench_test_own_problem:wrong", {}, "returned list, expected the vdbench.Problem"),
        ("vdbench_test_own_problem:wrong", {"width": 3}, "has no option 'width'. It has none."),
        ("vdbench_test_own_problem:raises", {}, "vdbench_test_own_problem:raises failed with ValueError: width is odd"),
        ("vdbench_test_own_problem:raises", {"widht": 1}, "has no option 'widht'. Did you mean 'width'?"),
        ("vdbench_test_own_problem:refuses", {}, "the module has no layer to make noisy"),
        ("vdbench_test_own_problem:required", {}, "failed with TypeError: required() missing 1 required"),
        ("vdbench_test_own_problem:anything", {"widht": 1}, "anything failed with TypeError"),
    ],
)  # fmt: skip
def test_what_is_refused(own: str, factory: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=rf"^problem 'mine': .*{re.escape(message)}") as caught:
        build("mine", factory, options)
    assert "\n" not in str(caught.value)


def test_a_factory_of_one_s_own_is_found_in_the_current_folder(own: str) -> None:
    problem = build("mine", f"{own}:make", {"width": 3})
    assert problem.name == "mine"
    assert [x.weight_shape for x in problem.layers] == [(3, 2), (2, 3)]
    assert build("mine", f"{own}:anything", {"width": 4}).layers[0].weight_shape == (4, 2)


def test_looking_in_the_current_folder_lets_it_hide_nothing(own: str, tmp_path: Path) -> None:
    for name in ("reports", "json"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    build("mine", f"{own}:make", {})
    for name in ("reports", "json"):
        spec = importlib.machinery.PathFinder.find_spec(name)
        assert spec is not None
        assert not str(spec.origin).startswith(str(tmp_path))


BASE = {"dataset": "digits", "widths": [3]}
CHANGES: dict[str, dict[str, Any]] = {
    "base": {},
    "widths": {"widths": [4]},
    "depth": {"widths": [3, 3]},
    "prior": {"prior": "log-uniform"},
    "prior's variance": {"prior": {"kind": "gaussian", "variance": 2.0}},
    "coordinates": {"parameterization": "theta-log_alpha"},
    "sigma": {"parameterization": {"kind": "mean-log_variance", "sigma": 0.06}},
    "alpha": {"parameterization": {"kind": "theta-log_alpha", "alpha": 0.4}},
    "alpha fixed": {"parameterization": {"kind": "theta-log_alpha", "learned": False}},
}


def test_fingerprints_are_the_same_in_every_process(own: str, tmp_path: Path) -> None:
    """Other hash seeds, other addresses in memory, another order of building."""
    code = f"""
    from vdbench.problems import build
    from vdbench.problems.identity import fingerprint
    print(fingerprint(build("b", "{own}:make", {{}})))
    print(fingerprint(build("a", "classification", {BASE!r})))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    here = [
        fingerprint(build("x", f"{own}:make", {})),
        fingerprint(build("y", "classification", BASE)),
    ]
    assert done.stdout.split() == here


def test_fingerprints_tell_problems_apart(own: str) -> None:
    found = {n: fingerprint(build(n, "classification", {**BASE, **c})) for n, c in CHANGES.items()}
    found["own"] = fingerprint(build("own", f"{own}:make", {}))
    found["own data"] = fingerprint(build("own", f"{own}:make", {"shift": 1e-6}))
    assert len(set(found.values())) == len(found)
    assert fingerprint(build("another name", "classification", BASE)) == found["base"]


def test_a_problem_s_fingerprint_is_not_changed_by_using_it() -> None:
    problem = build("a", "classification", BASE)
    before = fingerprint(problem)
    parameters = problem.initial(KEY)
    problem.outputs(lambda layer, x: layer.linear(x, parameters[f"{layer.name}.mean"]),
                    problem.data.train.inputs, parameters)  # fmt: skip
    assert fingerprint(problem) == before


class Shift(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1


class Stretch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


class Masked(nn.Module):
    """Has a buffer: no parameter, and yet part of the function."""

    def __init__(self, mask: list[float]) -> None:
        super().__init__()
        self.register_buffer("mask", torch.tensor(mask))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask


class Cubic:
    """A likelihood that is no dataclass."""

    def __init__(self, power: float) -> None:
        self.power = power

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -(outputs - targets).abs().pow(self.power).sum(1)


def base(middle: nn.Module | None = None, fill: float = 0.1, **options: Any) -> Problem:
    x = stream(KEY)("x", (5, 2))
    data = Dataset("own", Split(x, x.clone()), Split(x, x.clone()), 2)
    net = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), middle or Shift())
    with torch.no_grad():
        for value in net.parameters():
            value.fill_(fill)
    return noisy(net, data, **options)


def renamed_shift() -> nn.Module:
    """A class of the same name and another forward, as after an edit of its file."""

    class Shift(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 2

    return Shift()


def test_fingerprints_see_what_a_printed_module_does_not_show() -> None:
    found = {
        "base": base(),
        "weights": base(fill=0.2),
        "another middle": base(Stretch()),
        "an edited middle": base(renamed_shift()),
        "a buffer": base(Masked([1.0, 0.0])),
        "another buffer": base(Masked([0.0, 1.0])),
        "drawn weights": base(keep_weights=False),
        "drawn weights, other normalisation": base(fill=0.2, keep_weights=False),
        "likelihood": base(likelihood=GaussianNoise(3.0)),
        "likelihood's variance": base(likelihood=GaussianNoise(2.0)),
        "likelihood without fields": base(likelihood=Cubic(1.0)),
        "prior": base(prior=GaussianPrior(2.0)),
        "sigma": base(parameterization=MeanLogVariance(0.1)),
    }
    test = base()
    x = test.data.test.inputs.clone()
    x[0, 0] += 1e-6
    found["test data"] = dataclasses.replace(
        test, data=dataclasses.replace(test.data, test=Split(x, test.data.test.targets))
    )
    prints = {name: fingerprint(problem) for name, problem in found.items()}
    clashes = [(a, b) for a in prints for b in prints if a < b and prints[a] == prints[b]]
    assert clashes == []
    assert fingerprint(base()) == prints["base"]
    assert fingerprint(base(fill=0.1, keep_weights=False)) == prints["drawn weights"]


class Tempered(nn.Module):
    """Its temperature is a plain attribute: no parameter, no buffer, and not in its repr."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.temperature = temperature

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) / self.temperature


def test_the_fingerprint_sees_what_only_behaviour_shows() -> None:
    digits = datasets.load("digits")

    def closure(scale: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        return lambda out, target: (
            -scale * nn.functional.cross_entropy(out, target, reduction="none")
        )

    torch.manual_seed(0)
    module = Tempered(1.0)
    other = copy.deepcopy(module)
    other.temperature = 0.1
    one = fingerprint(noisy(module, digits))
    assert fingerprint(noisy(module, digits)) == one
    assert fingerprint(noisy(other, digits)) != one
    assert fingerprint(noisy(module, digits, likelihood=closure(1.0))) != fingerprint(
        noisy(module, digits, likelihood=closure(0.5))
    )
