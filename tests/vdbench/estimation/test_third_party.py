"""Third-party layers through the door: right ones agree with vdbench's own, known-bad ones are caught."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import vdbench
from vdbench.certificate.checks import CHECKS
from vdbench.certificate.protocol import settle
from vdbench.certificate.sampling import Subject
from vdbench.datasets import Dataset, Split
from vdbench.errors import CellError, InputError
from vdbench.estimation import draws, third_party, third_party_register
from vdbench.noise import Key, stream
from vdbench.problems import transforms
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.posterior import Posterior
from vdbench.problems.problem import Batch, Problem

pytestmark = pytest.mark.usefixtures("elsewhere")

KEY = Key(("test", "foreign"))
PRIOR = 0.25


class Plain(nn.Module):
    """A right layer: one weight sample a forward pass, a new tensor each time, KL summed over the weights."""

    def __init__(self, *shape: int, bias: bool = False) -> None:
        super().__init__()
        outputs = shape[0]
        self.mu = nn.Parameter(torch.randn(shape))
        self.rho = nn.Parameter(torch.randn(shape))
        self.register_buffer("eps", torch.zeros(shape))
        self.offset = nn.Parameter(torch.randn(outputs)) if bias else None

    def sigma(self) -> Tensor:
        return torch.log1p(self.rho.exp())

    def weight(self) -> Tensor:
        return self.mu + self.sigma() * torch.randn_like(self.mu)

    def map(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight) if weight.dim() == 2 else F.conv2d(x, weight)

    def forward(self, x: Tensor) -> Any:
        b = self.map(x, self.weight())
        return b if self.offset is None else b + self.offset

    def kl(self) -> Tensor:
        square = self.sigma().square()
        return 0.5 * ((square + self.mu**2) / PRIOR - 1 - (square / PRIOR).log()).sum()


class InPlace(Plain):
    """Its noise lives in a buffer that every forward pass overwrites, past autograd's eyes."""

    def weight(self) -> Tensor:
        return self.mu + self.sigma() * self.eps.data.normal_()


class Whole(Plain):
    """Flipout that perturbs with the whole sample μ + σε."""

    def forward(self, x: Tensor) -> Tensor:
        b = self.map(x, self.mu)
        signs = torch.randint(0, 2, b.shape).to(b) * 2 - 1
        return b + self.map(x, self.weight()) * signs


class MeanKL(Plain):
    def kl(self) -> Tensor:
        return super().kl() / self.mu.numel()


class SignKL(Plain):
    def kl(self) -> Tensor:
        return -super().kl()


class PriorKL(Plain):
    """The prior's variance used as its standard deviation."""

    def kl(self) -> Tensor:
        s, square = PRIOR**2, self.sigma().square()
        return 0.5 * ((square + self.mu**2) / s - 1 - (square / s).log()).sum()


class DetachedKL(Plain):
    """Right in value, without a gradient in the scale."""

    def sigma(self) -> Tensor:
        return super().sigma().detach()


def layer(kind: Callable[..., nn.Module] = Plain, **changes: Any) -> third_party.ForeignLayer:
    """A layer of this kind, registered under a name of its own."""
    given = {
        "dense": lambda inputs, outputs: kind(outputs, inputs),
        "convolution": lambda inputs, outputs, kernel: kind(outputs, inputs, *kernel),
        "mean": "mu",
        "scale": ("rho", "softplus"),
        "unbiased": True,
        "independent_examples": False,
        "kl": "kl",
        "prior_variance": PRIOR,
    }
    return third_party_register.register_layer(changes.pop("name", "mine"), **{**given, **changes})


def problem(form: Any = None, dtype: torch.dtype = torch.float64) -> tuple[Problem, Any, Batch]:
    """Eight examples through a dense network with biases, and parameters off their start."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(8, 5, generator=generator, dtype=dtype)
    split = Split(x, torch.arange(8) % 3)
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).to(dtype)
    made = noisy(net, Dataset("few", split, split, 3), parameterization=form)
    return made, made.initial(KEY), Batch(*split)


def one(estimator: third_party.ForeignLayer, at: Any, key: Key = KEY) -> Any:
    return draws.call(estimator, *at, stream(key, dtype=at[0].dtype), key)


LAYER_CHECKS = [one for one in CHECKS if one.name.startswith("layer")]
NAMES = [one.name for one in LAYER_CHECKS]


def findings(estimator: third_party.ForeignLayer) -> list[Any]:
    """What a certificate has beyond what it has of every estimator."""
    subject = Subject(estimator, Key(), "cpu", 64, 64)
    assert all(one.applies(estimator) for one in LAYER_CHECKS)
    return settle([asked for one in LAYER_CHECKS for asked in one.ask(subject)])


def failed(estimator: third_party.ForeignLayer) -> dict[tuple[str, str], Any]:
    return {(f.test, f.where): f for f in findings(estimator) if f.passed is False}


@pytest.mark.parametrize("form", [MeanLogVariance(0.3), ThetaLogAlpha(0.2)], ids=lambda f: f.name)
def test_a_gradient_is_that_of_the_same_weights_written_by_hand(form: Any) -> None:
    """With the layer's own noise replayed: in vdbench's coordinates, negative θ and biases included."""
    made, parameters, batch = at = problem(form)
    found = one(layer(), at)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed((KEY / "global").seed())
        eps = {
            part.name: torch.randn(part.weight_shape, dtype=torch.float64) for part in made.layers
        }
    leaves = {n: v.clone().requires_grad_() for n, v in parameters.items()}
    laws = {part.name: made.posterior(part, leaves) for part in made.layers}

    def sampler(part: Any, x: Tensor) -> Tensor:
        q = laws[part.name]
        return part.linear(x, q.mean + q.scale.abs() * eps[part.name])

    value = made.log_likelihood(sampler, batch, leaves).sum()
    want = torch.autograd.grad(value, list(leaves.values()))
    for name, gradient in zip(leaves, want, strict=True):
        torch.testing.assert_close(found.gradients[name], gradient, rtol=1e-9, atol=1e-12)


def test_a_draw_belongs_to_its_key_and_leaves_the_global_generator_alone() -> None:
    at, estimator = problem(), layer()
    before = torch.get_rng_state()
    first = one(estimator, at)
    assert bool((torch.get_rng_state() == before).all())
    torch.rand(3)
    again, other = one(estimator, at), one(estimator, at, KEY / 1)
    for name, value in first.gradients.items():
        assert torch.equal(value, again.gradients[name])
        assert not torch.equal(value, other.gradients[name])


def test_a_bias_goes_through_the_layer() -> None:
    """A layer that uses its bias twice gets twice the gradient in it; one that uses it once the same as without."""

    class Twice(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + self.offset

    at = problem()
    plain = one(layer(name="no-bias"), at)
    changes = {"bias": "offset", "convolution": None}
    right = layer(name="own-bias", dense=lambda i, o: Plain(o, i, bias=True), **changes)
    for name, value in one(right, at).gradients.items():
        torch.testing.assert_close(value, plain.gradients[name], rtol=1e-9, atol=1e-12)
    wrong = layer(name="twice", dense=lambda i, o: Twice(o, i, bias=True), **changes)
    assert set(failed(wrong)) == {("layer mapping", "dense")}


def test_a_right_layer_has_no_finding_against_it() -> None:
    found = findings(layer())
    assert [(f.test, f.where, f.passed) for f in found] == [
        (test, where, True) for test in NAMES for where in ("dense", "convolution")
    ], found


@pytest.mark.parametrize(
    ("kind", "test", "suggests"),
    [
        (InPlace, "layer draws", "overwritten in place"),
        (Whole, "layer mapping", "whole sample"),
        (MeanKL, "layer KL", "averaged over the weights"),
        (SignKL, "layer KL", "wrong sign"),
        (PriorKL, "layer KL", "variance used as its standard deviation"),
    ],
)
def test_a_bad_layer_is_caught_and_the_defect_named(kind: Any, test: str, suggests: str) -> None:
    found = failed(layer(kind))
    # what perturbs with the whole sample has another spread too
    more = {"layer spread"} if kind is Whole else set()
    assert set(found) == {(t, w) for t in (test, *more) for w in ("dense", "convolution")}
    named = [f for (t, _), f in found.items() if t == test]
    assert all(suggests in f.suggests for f in named), found


def test_a_kl_without_a_gradient_is_caught_though_its_value_is_right() -> None:
    found = failed(layer(DetachedKL))[("layer KL", "dense")]
    assert "value 0, gradient in mean and scale 1" in found.note
    assert found.suggests == ""


def test_a_wrong_transform_is_caught_by_the_kl_and_seen_in_the_spread() -> None:
    estimator = layer(scale=("rho", "exp"))
    found = failed(estimator)
    assert ("layer KL", "dense") in found
    assert ("layer mapping", "dense") not in found
    for where in ("dense", "convolution"):
        assert found["layer spread", where].suggests.endswith(
            "its variance is nearest to that of the transform 'softplus'."
        )
    part = problem()[0].layers[0]
    mean = torch.zeros(part.weight_shape, dtype=torch.float64)
    q = Posterior(mean, mean + 0.5, mean + 0.25)
    x = torch.eye(5, dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        b = torch.stack([estimator.spec.call(part, x, q)[0] for _ in range(400)])
    want = math.log1p(0.5)  # softplus of log σ
    assert float(b.std()) == pytest.approx(want, rel=5 / math.sqrt(2 * b.numel()))


def test_kinds_that_are_not_there_are_not_tested_and_say_so() -> None:
    found = findings(layer(convolution=None, kl=None))
    assert [(f.test, f.passed) for f in found if f.where == "convolution"] == [
        (t, None) for t in NAMES
    ]
    assert [f.passed for f in found if f.where == "dense"] == [True, True, True, None]
    assert found[6].note == "registered without kl="


def test_a_bad_registration_ends_a_check_in_one_sentence() -> None:
    for changes, expected in (
        ({"mean": "my"}, r"Plain has no parameter 'my'\. Expected one of: mu, rho\."),
        ({"convolution": lambda *sizes, **more: 3}, r"its convolution factory returned int"),
    ):
        bad = layer(name=f"refused-{len(expected)}", **changes)
        with pytest.raises(InputError, match=expected):
            vdbench.check(bad)
        with pytest.raises(InputError, match=expected):
            vdbench.check(vdbench.get("samples", of=bad, samples=2))


@pytest.mark.parametrize("name", transforms.TRANSFORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_transforms_go_there_and_back(name: str, dtype: torch.dtype) -> None:
    transform = transforms.TRANSFORMS[name]
    powers = np.arange(-12, 2) if name != "sqrt-softplus" else np.arange(-12, 1)
    scale = torch.tensor(10.0**powers, dtype=dtype)
    mean = torch.full_like(scale, -0.7)
    back = transform.forward(transform.inverse(scale, mean), mean)
    room = 40 * torch.finfo(dtype).eps * (1 + scale.log().abs().max())
    torch.testing.assert_close(back, scale, rtol=float(room), atol=0)


def test_a_pair_of_functions_is_a_transform() -> None:
    pair = (lambda p: p**3, lambda s: s ** (1 / 3))

    class Cubed(Plain):
        def sigma(self) -> Tensor:
            return self.rho**3

    assert not failed(layer(Cubed, scale=("rho", *pair)))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown transform": (
        {"scale": ("rho", "softplu")},
        r"^layer 'mine', scale: there is no transform 'softplu'\. Did you mean 'softplus'\?",
    ),
    "a pair that is none": (
        {"scale": ("rho", torch.exp, torch.sqrt)},
        r"does not hold there and back: forward\(inverse\(0\.001\)\) is 1\.03",
    ),
    "a pair that fails": ({"scale": ("rho", torch.exp, lambda s: s.nope)}, r"the pair fails with AttributeError"),
    "no factory": ({"dense": None, "convolution": None}, r"expected a factory, dense= or convolution= or both"),
    "no scale": ({"scale": "rho"}, r"expected a parameter's name and a transform, such as .* not 'rho'"),
    "a prior without variance": ({"prior_variance": 0}, r"prior_variance is 0, expected a positive number"),
    "a kl that is none": ({"kl": 1.5}, r"kl: expected the part of the returned tuple, a method's name or"),
    "a bad name": ({"name": "My Layer"}, r"estimator name 'My Layer' must be lower-case"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_bad_registration_is_refused_in_one_sentence(kind: str) -> None:
    changes, expected = REFUSED[kind]
    with pytest.raises(InputError, match=expected) as caught:
        layer(**changes)
    assert "\n" not in str(caught.value)


def test_parameters_that_are_not_there_are_refused() -> None:
    at = problem()
    for changes, expected in (
        ({"mean": "my"}, r"Plain has no parameter 'my'\. Expected one of: mu, rho\."),
        ({"transposed": True}, r"parameter 'mu' of Plain has shape \(4, 5\), expected \(5, 4\); say transposed=False"),
        ({"output": 0}, r"its forward returns Tensor, expected a tuple with a tensor at 0"),
        ({"dense": lambda i, o: 3}, r"its dense factory returned int, expected a torch\.nn\.Module"),
        ({"dense": lambda i: 3}, r"its dense factory failed with TypeError"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=expected):
            one(layer(name=f"bad-{len(expected)}", **changes), at)
    with pytest.raises(CellError, match=r"registered without dense=, a factory of dense layers"):
        one(layer(name="conv-only", dense=None), at)


def test_a_tuple_and_transposed_weights_are_taken_as_they_are_declared() -> None:
    class Turned(Plain):
        def forward(self, x: Tensor) -> Any:
            weight = self.mu + self.sigma() * torch.randn_like(self.mu.T).T
            return x @ weight, self.kl()

    estimator = layer(
        name="turned", dense=lambda i, o: Turned(i, o), convolution=None, transposed=True, output=0, kl=1,
    )  # fmt: skip
    assert not failed(estimator)
    at = problem()
    plain = one(layer(name="plain"), at)
    for name, value in one(estimator, at).gradients.items():
        torch.testing.assert_close(value, plain.gradients[name], rtol=1e-9, atol=1e-12)


def test_several_draws_of_a_cell_are_looped() -> None:
    at, estimator = problem(dtype=torch.float32), layer()
    traced = draws.trace(estimator, *at)
    assert traced == draws.Trace((), 0)
    batches = Batch(*(t.expand(3, *t.shape) for t in at[2]))
    drawn = draws.gradients(estimator, at[0], at[1], batches, [KEY / k for k in range(3)], traced)
    for k in range(3):
        alone = one(estimator, at, KEY / k)
        assert all(torch.equal(drawn.gradients[n][k], v) for n, v in alone.gradients.items())
