"""Layers as public libraries write them: the right ones pass, with power; what is wrong is found and named."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import third_party
import torch
from third_party import MIXTURE, PRIOR
from torch import Tensor, nn

from vdbench.certificate import Certificate, Finding, check
from vdbench.certificate.checks import layer_draws, layer_kl, layer_mapping, layer_spread
from vdbench.certificate.own_noise import agree
from vdbench.certificate.protocol import settle
from vdbench.certificate.sampling import Subject
from vdbench.certificate.third_party_kl import Place
from vdbench.errors import InputError
from vdbench.estimation.third_party import ForeignLayer
from vdbench.estimation.third_party_register import register_layer
from vdbench.noise import Key
from vdbench.problems.layers import Layer

pytestmark = pytest.mark.usefixtures("elsewhere", "one_thread")

RIGHT: dict[str, dict[str, Any]] = {
    "sampled-mixture": {
        "dense": third_party.SampledMixture,
        "mean": "weight_mu",
        "scale": ("weight_rho", "softplus"),
        "bias": "bias_mu",
        "bias_scale": ("bias_rho", "softplus"),
        "kl": "kl",
        "prior": ("scale-mixture", *MIXTURE),
    },
    "sampled": {
        "dense": third_party.Sampled,
        "mean": "mu",
        "scale": ("rho", "softplus"),
        "kl": lambda module, returned: module.complexity,
        "prior_variance": PRIOR**2,
    },
    "local": {
        "dense": third_party.Local,
        "mean": "W",
        "scale": ("log_variance", "exp-half"),
        "transposed": True,
        "bias": "b",
        "output": 0,
        "kl": 1,
        "prior_variance": PRIOR**2,
        "independent_examples": True,
    },
    "local-convolution": {
        "convolution": third_party.LocalConvolution,
        "mean": "weight",
        "scale": ("log_sigma", "exp"),
        "independent_examples": True,
        "objective_on_convolution": "elbo-local-noise",
    },
    "floor": {
        "dense": third_party.Floor,
        "mean": "mu",
        "scale": ("rho", "softplus"),
        "kl": lambda module, returned: module.kl_div,
        "prior_variance": PRIOR**2,
    },
    "two-names": {
        "dense": third_party.TwoNames,
        "mean": "parts.mean",
        "scale": ("parts.log_sigma", "exp"),
    },
}


def layer(name: str, **changes: Any) -> ForeignLayer:
    """A layer of `RIGHT`, registered with changes."""
    given = {"unbiased": True, "independent_examples": False, **RIGHT[name], **changes}
    return register_layer(f"{name}-{next(COUNT)}", **given)


COUNT = itertools.count()


def findings(estimator: ForeignLayer, *checks: Any, draws: int = 4096) -> list[Finding]:
    """What the layer's own checks find."""
    subject = Subject(estimator, Key(("check", 0)), "cpu", draws, draws)
    asked = [
        a for one in checks or (layer_mapping, layer_spread, layer_kl) for a in one.ask(subject)
    ]
    return settle(asked)


def failed(*args: Any, **more: Any) -> dict[str, Finding]:
    return {f"{f.test}, {f.where}": f for f in findings(*args, **more) if f.passed is False}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_layer_passes_its_own_checks(name: str) -> None:
    found = findings(layer(name))
    assert not [f for f in found if f.passed is False], found
    assert any(f.passed for f in found if f.test == "layer spread")


@pytest.mark.long
def test_a_right_layer_passes_and_a_bias_of_a_tenth_would_have_been_seen() -> None:
    found = check(layer("local"))
    assert found.verdict == "PASSED", found.text()
    assert found.power is not None
    assert found.power <= 0.1


@pytest.mark.parametrize("eps", [1e-16, 1e-12, 1e-8, 1e-6])
def test_noise_that_does_not_vanish_is_said_and_no_reason_to_fail(eps: float) -> None:
    estimator = layer("local", dense=lambda i, o: third_party.Local(i, o, eps))
    (found, _) = findings(estimator, layer_mapping)
    assert found.passed, found
    assert ("noise of" in found.note) == (eps >= 1e-8)


def test_noise_that_does_not_vanish_hides_no_wrong_map() -> None:
    wrong = layer("local", dense=lambda i, o: third_party.LocalBiasTwice(i, o, 1e-6))
    assert set(failed(wrong, layer_mapping)) == {"layer mapping, dense"}
    coarse = layer("local", dense=lambda i, o: third_party.Local(i, o, 0.1))
    assert "layer mapping, dense" in failed(coarse, layer_mapping)


def test_noise_that_is_written_over_fails_that_check_alone() -> None:
    found = check(layer("sampled-mixture", dense=third_party.SampledInPlace, kl=None), draws=512)
    assert [(f.test, f.where) for f in found.failed] == [("layer draws", "dense")], found.text()
    assert found.verdict == "FAILED"


class WrittenWeight(nn.Module):
    """Each draw is put into one weight in place: two passes before one backward pass raise torch's error."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.base = nn.Linear(inputs, outputs, bias=False)
        shape = self.base.weight.shape
        self.mu, self.rho = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.randn_like(self.mu)
        self.base.weight.detach_().requires_grad_(False)
        self.base.weight.copy_(self.mu + nn.functional.softplus(self.rho) * noise)
        out: Tensor = self.base(x * (1 + 0 * self.mu.sum()))
        return out


def test_two_passes_that_raise_an_error_are_told_and_not_judged() -> None:
    estimator = register_layer(
        "written-weight", dense=WrittenWeight, mean="mu", scale=("rho", "softplus"),
        unbiased=True, independent_examples=False,
    )  # fmt: skip
    subject = Subject(estimator() if isinstance(estimator, type) else estimator, Key(("tests",)))
    found = [f for f in layer_draws.ask(subject) if f.where == "dense"]
    assert [f.passed for f in found] == [None]
    assert "two forward passes before one backward pass raise an error" in found[0].note


# A sampled KL


def test_a_sampled_kl_is_tested_by_its_mean_and_a_constant_in_it_is_named() -> None:
    value, *gradients = (
        f for f in findings(layer("sampled-mixture"), layer_kl) if f.where != "convolution"
    )
    assert value.passed is None
    assert "the value has a constant too many, -0.5" in value.note.replace("-0.6", "-0.5")
    assert [f.passed for f in gradients] == [True, True]
    assert all(f.power is not None and f.power <= 0.1 for f in gradients)


@pytest.mark.parametrize(
    ("kind", "suggests"),
    [
        (third_party.SampledWrongPrior, "the prior's variance used as its standard deviation"),
        (third_party.SampledWrongSign, "the KL with the wrong sign"),
    ],
)
def test_a_wrong_sampled_kl_is_caught_and_named(kind: Any, suggests: str) -> None:
    found = failed(layer("sampled", dense=kind), layer_kl)
    assert "layer KL, dense: value" in found
    assert suggests in found["layer KL, dense: value"].suggests
    assert "layer KL, dense: gradient in the scale" in found


def test_a_wrong_mixture_is_caught() -> None:
    wrong = layer("sampled-mixture", prior=("scale-mixture", 0.6, 1.0, 0.3))
    assert "layer KL, dense: gradient in the scale" in failed(wrong, layer_kl)


def test_the_exact_kl_of_a_mixture_is_its_mean_over_draws() -> None:
    """Against 200,000 draws: five standard errors, one comparison, a false alarm in a million."""
    place = Place(layer("sampled-mixture").spec, Layer("dense", (2, 1)), 3)
    q = place.q
    rng = torch.Generator().manual_seed(5)
    w = q.mean + q.scale * torch.randn(200_000, 2, 1, generator=rng, dtype=torch.float64)
    log_q = torch.distributions.Normal(q.mean, q.scale).log_prob(w)
    pi, first, second = MIXTURE
    density = [torch.distributions.Normal(0, s).log_prob(w).exp() for s in (first, second)]
    drawn = (log_q - (pi * density[0] + (1 - pi) * density[1]).log()).sum((1, 2)).detach()
    error = float(drawn.std()) / len(drawn) ** 0.5
    assert abs(float(drawn.mean()) - float(place.truth[0])) <= 5 * error


# The door


def test_a_floor_under_the_scale_and_a_kl_that_adds_up_are_taken_as_they_are() -> None:
    pair = (lambda p: torch.nn.functional.softplus(p) + 1e-5, lambda s: (s - 1e-5).expm1().log())
    for scale in (("rho", "softplus"), ("rho", *pair)):
        found = {f.test: f for f in findings(layer("floor", scale=scale)) if f.where == "dense"}
        assert all(f.passed for f in found.values()), found


def test_a_bias_that_takes_no_part_may_stay_unnamed() -> None:
    without = {"bias": "", "bias_scale": None}
    right = layer(
        "sampled-mixture",
        dense=lambda i, o: third_party.SampledMixture(i, o, bias=False),
        **without,
    )
    assert not failed(right, layer_mapping, layer_spread)
    with pytest.raises(InputError, match="has a parameter 'bias_mu' that nothing is said of"):
        findings(layer("sampled-mixture", **without), layer_mapping)


def test_a_scale_that_is_computed_once_is_named() -> None:
    found = failed(layer("floor", dense=third_party.Once, kl=None), layer_spread)
    assert "does not depend on 'rho': what it is computed from was computed once" in (
        found["layer spread, dense"].suggests
    )


def test_a_convolution_alone_is_compared_with_weight_samples_in_dense_layers() -> None:
    found = check(layer("local-convolution"), draws=512)
    where = {f.where.partition(":")[0] for f in found.findings if f.test == "unbiased" and f.passed}
    assert where == {"convolution", "drawn convolution"}
    notes = [f.note for f in found.findings if f.test == "unbiased" and f.where == "linear"]
    assert "registered without dense=" in notes[0]


@pytest.mark.parametrize(
    ("prior", "said"),
    [
        (("scale-mixture", 1.5, 1.0, 0.1), "expected 0 < pi < 1 and two positive numbers"),
        (("mixture", 0.5), 'expected ("scale-mixture", pi, sigma1, sigma2) or the log-density'),
        (lambda w: w.sum(), "expected the log-density of each, of shape (4, 2)"),
    ],
)
def test_a_bad_prior_is_refused_in_one_sentence(prior: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        layer("sampled-mixture", prior=prior)
    assert said in str(caught.value)


# Draws in one call


def test_draws_in_one_call_are_used_only_where_a_loop_gives_the_same() -> None:
    rng = np.random.default_rng(1)
    looped, many = rng.normal(size=(256, 3)), rng.normal(size=(4096, 3))
    assert agree({"w": looped}, {"w": many})
    assert not agree({"w": looped}, {"w": many + np.array([0, 0.5, 0])})
    assert not agree({"w": looped}, {"w": many * np.array([1, 1, 0.5])})
    assert not agree({"w": looped}, {"w": 0 * many})


def test_noise_of_numpy_is_drawn_in_a_loop() -> None:
    class Foreign(third_party.Sampled):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            eps = torch.from_numpy(
                np.random.default_rng(int(torch.randint(2**31, ()))).normal(size=self.mu.shape)
            )
            return x @ (self.mu + torch.nn.functional.softplus(self.rho) * eps).T

    from vdbench.certificate.reference_problems import stage

    looped = Subject(layer("sampled", dense=Foreign, kl=None), Key(("check", 0)), "cpu", 64, 64)
    assert looped.on(stage("linear")).alone
    together = Subject(layer("sampled"), Key(("check", 0)), "cpu", 64, 64)
    assert together.on(stage("linear")).own


# The verdict


def test_a_verdict_of_pass_needs_power() -> None:
    def verdict(**more: Any) -> Certificate:
        given = {"limit": 0.05, "power": 0.09, "draws": 1000, **more}
        found = Finding("unbiased", "linear: layer 0, mean", True, 0.0, -0.05, 0.05, **given)
        return Certificate("it", "small", (found,), 0.01, 2.0)

    assert verdict().verdict == "PASSED"
    assert verdict().draws is None
    for power in (0.11, 1.5, float("nan")):
        assert verdict(power=power).verdict == "INCONCLUSIVE"
    weak = verdict(power=0.5)
    assert weak.draws == 30000
    assert "--draws 30000 should settle it, in about 60 s." in weak.summary()
    blind = verdict(power=1e4)
    assert blind.draws is None
    assert "No number of draws within reach would settle it." in blind.summary()
    assert (
        verdict(power=0.5, limit=None).verdict == "PASSED"
    )  # a declared bias, which is not judged


class Own(nn.Module):
    """A layer that samples its weights, and its wrong ways of being called."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.zeros(outputs, inputs))
        self.rho = nn.Parameter(torch.zeros(outputs, inputs))

    def forward(self, x: Tensor) -> Any:
        sigma = nn.functional.softplus(self.rho)
        return x @ (self.mu + sigma * torch.randn_like(sigma)).T


class OwnTuple(Own):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), x.sum()


class OwnSample(Own):
    def forward(self, x: Tensor, sample: bool) -> Any:
        return super().forward(x) if sample else x


@pytest.mark.parametrize(
    ("dense", "options", "message"),
    [
        (OwnTuple, {}, r"its forward returns \(Tensor, Tensor\), expected a tensor: say which part"),
        (OwnTuple, {"output": 1}, r"its dense output has shape \(\) for inputs .* expected \(\d+, 4\): say which"),
        (OwnSample, {}, r"cannot be called with an input alone: .*'sample'; wrap it"),
    ],
)  # fmt: skip
def test_a_layer_that_cannot_be_called_is_refused_before_any_check(
    dense: Any, options: dict[str, Any], message: str
) -> None:
    name = f"called-{len(message)}"
    claims: dict[str, Any] = {"unbiased": True, "independent_examples": False}
    estimator = register_layer(
        name, dense=dense, mean="mu", scale=("rho", "softplus"), **claims, **options
    )
    with pytest.raises(InputError, match=message):
        check(estimator)


class OfFloat32(Own):
    """Makes a constant of float32, whatever the type of its inputs."""

    def forward(self, x: Tensor) -> Any:
        one = torch.eye(self.mu.shape[0], dtype=torch.float32)
        return (
            x @ (one @ (self.mu + nn.functional.softplus(self.rho) * torch.randn_like(self.mu))).T
        )


class OfOneMemory(Own):
    """A second parameter on the memory of the first, which is the one that is used."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.again = nn.Parameter(self.mu.data)

    def forward(self, x: Tensor) -> Any:
        return x @ (self.again + nn.functional.softplus(self.rho) * torch.randn_like(self.mu)).T


@pytest.mark.parametrize("dense", [OfFloat32, OfOneMemory])
def test_a_right_layer_is_not_accused_for_the_type_of_its_constants_or_its_memory(
    dense: Any,
) -> None:
    claims: dict[str, Any] = {"unbiased": True, "independent_examples": False}
    estimator = register_layer(
        dense.__name__.lower(), dense=dense, mean="mu", scale=("rho", "softplus"), **claims
    )
    found = check(estimator, draws=256)
    assert not found.failed, found.text(verbose=True)
    said = [f.note for f in found.findings if f.test == "layer mapping"]
    assert ("works in float32 alone" in said[0]) == (dense is OfFloat32)
