"""The law of a layer's weights: how its noise is drawn, shared and laid on inputs, and the α it implies."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vdbench.errors import InputError
from vdbench.noise import Injected, Key, Noise, Recorder, Request, stream
from vdbench.problems.dropout import BinaryDropout, Point
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha, from_spec
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.posterior import Posterior

KEY = Key(("tests", "weights"))
WEIGHT = stream(KEY, dtype=torch.float64)("weight", (4, 3))
KERNEL = stream(KEY, dtype=torch.float64)("kernel", (4, 3, 2, 2))
RATES = (0.05, 0.2, 0.5, 0.9)


def law(form: Parameterization, weight: Tensor = WEIGHT) -> Posterior:
    return form.gaussian(form.initial(weight))


def given(q: Posterior, value: Tensor, examples: int | None = None) -> Tensor:
    """The z that q makes of a uniform number."""
    recorder = Recorder(stream(KEY, dtype=torch.float64).source)
    q.draw(Noise(recorder), "layer", examples)
    (request,) = recorder.requests
    assert request.law == "uniform"
    return q.draw(Noise(Injected({request: value.expand(request.shape)})), "layer", examples)


@pytest.mark.parametrize(
    ("form", "requests"),
    [
        (MeanLogVariance(), [((4, 3), "normal")]),
        (ThetaLogAlpha(per="weight"), [((4, 3), "normal")]),
        (ThetaLogAlpha(sharing="inputs"), [((1, 3), "normal")]),
        (BinaryDropout(), [((1, 3), "uniform")]),
        (BinaryDropout(sharing="weights"), [((4, 3), "uniform")]),
        (Point(), []),
    ],
    ids=repr,
)
@pytest.mark.parametrize("examples", [None, 5])
def test_what_is_asked_of_the_noise(
    form: Parameterization, requests: list[Any], examples: int | None
) -> None:
    """What is asked for has the declared laws, and comes back in the shape of the noise."""
    recorder = Recorder(stream(KEY, dtype=torch.float64).source)
    q = law(form)
    z = q.draw(Noise(recorder), "layer", examples)
    lead = () if examples is None else (examples,)
    assert recorder.requests == [Request(("layer",), (*lead, *s), name) for s, name in requests]
    assert form.noise_laws == tuple(name for _, name in requests)
    assert (q.law, q.sharing) == (form.law, form.sharing)
    assert z.shape == (*lead, *q.noise_shape)
    assert q.weights(z).shape == (*lead, 4, 3)
    assert z.dtype == torch.float64


def test_normal_weights_are_mean_plus_scale_times_noise() -> None:
    for form in (MeanLogVariance(0.3), ThetaLogAlpha(0.7, per="output")):
        q = law(form)
        z = q.draw(stream(KEY, dtype=torch.float64), "layer")
        assert torch.equal(z, stream(KEY, dtype=torch.float64)("layer", (4, 3)))
        torch.testing.assert_close(q.weights(z), q.mean + q.scale * z, rtol=1e-15, atol=1e-16)


@pytest.mark.parametrize("form", [MeanLogVariance(0.3), ThetaLogAlpha(0.7, per="output")], ids=repr)
def test_scale_and_variance_are_computed_where_they_are_asked_for(form: Parameterization) -> None:
    """Unpacked, indexed or replaced in part, a law is the plain one."""
    q, plain = law(form), Posterior(*law(form))
    assert set(vars(q)) == set()
    assert q.variance is q.variance
    assert set(vars(q)) == {"variance"}
    torch.testing.assert_close(q.scale.square(), q.variance)
    for place, name in enumerate(Posterior._fields):
        for found in (getattr(q, name), q[place], getattr(q._replace(sharing="weights"), name)):
            want = getattr(plain, name)
            assert torch.equal(found, want) if isinstance(want, Tensor) else found == want
    moved = q._replace(mean=q.mean + 1)
    assert type(moved) is Posterior
    assert torch.equal(moved.scale, plain.scale)


def test_a_point_has_no_noise() -> None:
    q = law(Point())
    assert torch.equal(q.weights(q.draw(Noise(Injected({})), "layer")), WEIGHT)
    assert not q.scale.any()
    assert not q.variance.any()
    assert bool((q.significant_digits() == math.inf).all())


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("sharing", ["inputs", "weights"])
def test_binary_noise_is_standardised(rate: float, sharing: Any) -> None:
    """Over the two values with their probabilities: mean 0, variance 1, and dropped weights are exactly 0."""
    q = law(BinaryDropout(rate, sharing=sharing))
    below, above = (
        torch.tensor(u, dtype=torch.float64) for u in (rate * (1 - 1e-9), rate * (1 + 1e-9))
    )
    dropped, kept = given(q, below), given(q, above)
    torch.testing.assert_close(rate * dropped + (1 - rate) * kept, 0 * kept, atol=1e-12, rtol=0)
    square = rate * dropped**2 + (1 - rate) * kept**2
    torch.testing.assert_close(square, torch.ones_like(square), atol=0, rtol=1e-12)
    assert not q.weights(dropped).any()
    torch.testing.assert_close(q.weights(kept), WEIGHT / (1 - rate), atol=0, rtol=1e-12)


@pytest.mark.parametrize("rate", RATES)
def test_binary_and_gaussian_dropout_have_the_same_moments(rate: float) -> None:
    """Slide row: with α = p/(1−p), for both scalings, mean and variance of every weight and pre-activation agree.

    Exactly: sums over all 2³ masks of three inputs against the moments of the Gaussian.
    """
    alpha = rate / (1 - rate)
    normal = law(ThetaLogAlpha(alpha, learned=False, sharing="inputs"))
    x = stream(KEY, dtype=torch.float64)("x", (3,))
    want = (x @ WEIGHT.T, alpha * torch.einsum("i,oi,pi->op", x**2, WEIGHT, WEIGHT))
    for scaling in ("training", "test"):
        q = law(BinaryDropout(rate, scaling=scaling))
        torch.testing.assert_close(q.mean, normal.mean, atol=0, rtol=1e-12)
        torch.testing.assert_close(q.variance, normal.variance, atol=0, rtol=1e-12)
        masks = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
        chance = (masks * (1 - rate) + (1 - masks) * rate).prod(1)
        samples = torch.stack([q.weights(given(q, rate / 2 + 0.5 * mask[None])) for mask in masks])
        torch.testing.assert_close(torch.einsum("k,koi->oi", chance, samples), normal.mean)
        b = samples @ x
        mean = chance @ b
        spread = torch.einsum("k,ko,kp->op", chance, b - mean, b - mean)
        torch.testing.assert_close(mean, want[0], atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(spread, want[1], atol=1e-12, rtol=1e-12)


def test_the_two_scalings_are_one_law_in_two_coordinates() -> None:
    """θ is 1/(1−p) times as large with scaling at test, W the same draw by draw, and prediction takes (1−p)θ."""
    forms = [BinaryDropout(0.2, scaling=s) for s in ("training", "test")]
    training, test = (form.initial(WEIGHT) for form in forms)
    torch.testing.assert_close(0.8 * test["theta"], training["theta"])
    a, b = (f.gaussian(c) for f, c in zip(forms, (training, test), strict=True))
    z = a.draw(stream(KEY, dtype=torch.float64), "layer")
    torch.testing.assert_close(a.weights(z), b.weights(z), atol=0, rtol=1e-12)
    kept = b.weights(z)[b.weights(z) != 0]
    masked = test["theta"].expand_as(z * WEIGHT)[b.weights(z) != 0]
    torch.testing.assert_close(kept, masked, atol=0, rtol=1e-12)  # ξ is 0 or 1
    torch.testing.assert_close(b.mean, 0.8 * test["theta"])


def test_binary_masks_have_their_rate() -> None:
    """Share of zeros in 40,000 weights, within 5 standard errors (false alarms below 1e-6)."""
    q = law(BinaryDropout(0.3, sharing="weights"), torch.ones(200, 200, dtype=torch.float64))
    w = q.weights(q.draw(stream(KEY, dtype=torch.float64), "layer"))
    share = float((w == 0).double().mean())
    assert abs(share - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 40_000), share


SHARED = [
    ThetaLogAlpha(0.4, sharing="inputs"),
    ThetaLogAlpha(0.4, sharing="inputs", per="input"),
    BinaryDropout(0.3),
    BinaryDropout(0.3, scaling="test"),
]


def uneven(form: Parameterization, weight: Tensor) -> Posterior:
    """The law with a different α for each input where it has one."""
    coordinates = form.initial(weight)
    alpha = coordinates["log_alpha"]
    if alpha.numel() > 1:
        alpha += stream(KEY, dtype=torch.float64)("alpha", alpha.shape)
    return form.gaussian(coordinates)


@pytest.mark.parametrize("form", SHARED, ids=repr)
@pytest.mark.parametrize("between", [(), (2,), (2, 5)])
def test_masked_inputs_are_row_shared_weight_noise(
    form: Parameterization, between: tuple[int, ...]
) -> None:
    """Slide row: (x ∘ ξ)θ = x(θ ∘ ξ), example by example and draw by draw; for sequences too."""
    q = uneven(form, WEIGHT)
    z = q.draw(stream(KEY, dtype=torch.float64), "layer", examples=6)
    x = stream(KEY, dtype=torch.float64)("x", (6, *between, 3))
    got = F.linear(q.masked(x, z), q.mean)
    want = torch.stack([F.linear(x[m], q.weights(z[m])) for m in range(6)])
    torch.testing.assert_close(got, want, atol=1e-13, rtol=1e-12)
    assert not torch.allclose(got, F.linear(x, q.mean))


@pytest.mark.parametrize("form", SHARED, ids=repr)
@pytest.mark.parametrize("groups", [1, 2])
def test_masked_channels_are_row_shared_kernel_noise(form: Parameterization, groups: int) -> None:
    q = uneven(form, KERNEL)
    assert q.noise_shape == (1, 3, 1, 1)
    z = q.draw(stream(KEY, dtype=torch.float64), "layer", examples=5)
    x = stream(KEY, dtype=torch.float64)("x", (5, 3 * groups, 4, 4))
    got = F.conv2d(q.masked(x, z), q.mean, groups=groups)
    each = [F.conv2d(x[m : m + 1], q.weights(z[m]), groups=groups) for m in range(5)]
    torch.testing.assert_close(got, torch.cat(each), atol=1e-13, rtol=1e-12)


@pytest.mark.parametrize(
    ("per", "dense", "kernel"),
    [
        ("layer", (1,), (1,)),
        ("input", (1, 3), (1, 3, 1, 1)),
        ("output", (4, 1), (4, 1, 1, 1)),
        ("weight", (4, 3), (4, 3, 2, 2)),
    ],
)
def test_every_granularity_has_its_alphas(per: Any, dense: tuple[int], kernel: tuple[int]) -> None:
    form = ThetaLogAlpha(0.7, per=per)
    for weight, shape in ((WEIGHT, dense), (KERNEL, kernel)):
        coordinates = form.initial(weight)
        assert coordinates["log_alpha"].shape == shape
        coordinates["log_alpha"] += torch.arange(math.prod(shape)).reshape(shape)
        q = form.gaussian(coordinates)
        alpha = coordinates["log_alpha"].exp()
        torch.testing.assert_close(q.variance, alpha * weight**2)
        torch.testing.assert_close(q.scale, alpha.sqrt() * weight)
        torch.testing.assert_close(q.log_ratio().exp(), alpha.expand_as(weight))


def test_significant_digits() -> None:
    """−log₁₀ √α: α = 1e-4 leaves two digits, α = 1 none, α = 100 is one digit short."""
    for alpha, digits in ((1e-4, 2.0), (1.0, 0.0), (100.0, -1.0)):
        found = law(ThetaLogAlpha(alpha)).significant_digits()
        torch.testing.assert_close(found, torch.full_like(WEIGHT, digits), atol=1e-12, rtol=0)
    additive = law(MeanLogVariance(0.1), torch.tensor([[10.0, 0.1, 0.0]], dtype=torch.float64))
    want = torch.tensor([[2.0, 0.0, -math.inf]], dtype=torch.float64)
    torch.testing.assert_close(additive.significant_digits(), want, atol=1e-12, rtol=0)


def test_additive_coordinates_have_their_alpha_computed() -> None:
    form = MeanLogVariance(0.3)
    q = law(form)
    assert q.log_alpha is None
    torch.testing.assert_close(q.log_ratio().exp(), 0.09 / WEIGHT**2)
    assert law(form, 0 * WEIGHT).log_ratio().min() == math.inf


def test_descriptions_that_name_older_blocks_stay() -> None:
    assert repr(ThetaLogAlpha()) == "ThetaLogAlpha(alpha=0.5, learned=True)"
    assert repr(ThetaLogAlpha((1.0, 2), False)) == "ThetaLogAlpha(alpha=(1.0, 2), learned=False)"
    assert repr(ThetaLogAlpha(per="input", sharing="inputs")) == (
        "ThetaLogAlpha(alpha=0.5, learned=True, per='input', sharing='inputs')"
    )
    assert repr(MeanLogVariance()) == "MeanLogVariance(sigma=0.05)"


def test_specs_of_the_families() -> None:
    spec = {"kind": "binary-dropout", "rate": [0.2, 0.5], "scaling": "test", "sharing": "weights"}
    assert from_spec(spec) == BinaryDropout((0.2, 0.5), "test", "weights")
    assert from_spec(spec).layers == 2
    assert from_spec("binary-dropout").fixed == ("log_alpha",)
    assert from_spec("point") == Point()
    first, second = (BinaryDropout((0.2, 0.5)).initial(WEIGHT, place) for place in (0, 1))
    torch.testing.assert_close(first["log_alpha"].exp(), torch.tensor([0.25]).double())
    torch.testing.assert_close(second["log_alpha"].exp(), torch.tensor([1.0]).double())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "theta-log_alpha", "per": "inptu"}, "per of the posterior is unknown: 'inptu'. Did you mean 'inpu"),
        ({"kind": "theta-log_alpha", "per": 3}, "per of the posterior is unknown: 3. Expected one of: input, layer,"),
        ({"kind": "theta-log_alpha", "sharing": "rows"}, "sharing of the posterior is unknown: 'rows'. Expected"),
        ({"kind": "theta-log_alpha", "sharing": "inputs", "per": "weight"},
         "per of the posterior is 'weight' with sharing 'inputs': all outputs share the one noise of an input feature, "
         "so that its α cannot differ between them; expected per 'layer' or 'input'."),
        ({"kind": "theta-log_alpha", "sharing": "inputs", "per": "output"}, "per of the posterior is 'output' with"),
        ({"kind": "binary-dropout", "rate": 0}, "rate of the posterior must be a finite number above 0 and below 1, "),
        ({"kind": "binary-dropout", "rate": 1.0}, "must be a finite number above 0 and below 1, not 1.0."),
        ({"kind": "binary-dropout", "rate": [0.2, "a"]}, "above 0 and below 1, not 'a'."),
        ({"kind": "binary-dropout", "rate": []}, "rate of the posterior is an empty list."),
        ({"kind": "binary-dropout", "scaling": "train"}, "scaling of the posterior is unknown: 'train'. Did you mean"),
        ({"kind": "binary-dropout", "sharing": True}, "sharing of the posterior is unknown: True."),
        ({"kind": "binary-dropout", "learned": True}, "'binary-dropout' has no option 'learned'."),
        ({"kind": "point", "sigma": 1}, "parameterization 'point' has no option 'sigma'. It has none."),
    ],
)  # fmt: skip
def test_what_is_refused(spec: object, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        from_spec(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", [MeanLogVariance(), ThetaLogAlpha()], ids=lambda f: f.name)
@pytest.mark.parametrize("field", ["scale", "variance"])
def test_what_was_read_without_a_gradient_has_one_where_it_is_used(
    form: Parameterization, field: str
) -> None:
    leaves = {n: v.clone().requires_grad_() for n, v in form.initial(WEIGHT).items()}
    plain = torch.autograd.grad(getattr(form.gaussian(leaves), field).sum(), list(leaves.values()),
                                materialize_grads=True)  # fmt: skip
    q = form.gaussian(leaves)
    with torch.no_grad():
        assert float(getattr(q, field).sum()) > 0
    found = torch.autograd.grad(getattr(q, field).sum(), list(leaves.values()),
                                materialize_grads=True)  # fmt: skip
    for one, other in zip(plain, found, strict=True):
        assert torch.equal(one, other)
    assert any(one.abs().sum() > 0 for one in plain)
