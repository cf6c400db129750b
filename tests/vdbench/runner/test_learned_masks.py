"""Learned binary masks outside the estimators: the posterior, its prior, evaluation and training."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vdbench import problems
from vdbench.errors import InputError
from vdbench.estimation.options import get
from vdbench.noise import Key, stream
from vdbench.problems import gaussian, priors
from vdbench.problems.bernoulli_prior import BernoulliPrior
from vdbench.problems.dropout import BinaryDropout, LearnedBinary
from vdbench.problems.problem import Problem
from vdbench.training import evaluation
from vdbench.training.trainer import Trainer

NOISE = stream(Key(("tests", "masks")), dtype=torch.float64)
WEIGHT = NOISE("weight", (4, 3))
KERNEL = NOISE("kernel", (4, 3, 2, 2))


@pytest.mark.parametrize("per", ["input", "layer"])
@pytest.mark.parametrize("weight", [WEIGHT, KERNEL], ids=["dense", "convolution"])
def test_it_starts_at_the_weights_given(weight: Tensor, per: Any) -> None:
    form = LearnedBinary((0.8, 0.25), per=per)
    for place, keep in enumerate((0.8, 0.25)):
        coordinates = form.initial(weight, place)
        shape = (1, 3, *(1 for _ in weight.shape[2:])) if per == "input" else (1,)
        assert coordinates["logit"].shape == shape
        q = form.gaussian(coordinates)
        assert torch.allclose(q.mean, weight, rtol=1e-12)
        assert torch.allclose(coordinates["logit"].sigmoid(), torch.full(shape, keep).double())


def test_its_moments_are_those_of_its_draws() -> None:
    """Mean qθ and variance q(1−q)θ², by both values of a mask; and binary dropout at the same rate is the same law."""
    form = LearnedBinary(per="input")
    logit = torch.tensor([[-1.5, 0.2, 3.0]]).double()
    q = form.gaussian({"theta": WEIGHT, "logit": logit})
    keep = logit.sigmoid()
    assert torch.allclose(q.mean, keep * WEIGHT, rtol=1e-12)
    assert torch.allclose(q.variance, keep * (1 - keep) * WEIGHT**2, rtol=1e-12)
    assert torch.allclose(q.scale**2, q.variance, rtol=1e-12)
    assert torch.allclose(q.log_ratio(), (q.variance / q.mean**2).log(), rtol=1e-9)
    noise = stream(Key(("tests", "draws")), dtype=torch.float64)
    z = q.draw(noise, "layer", examples=20000)
    weights = q.weights(z)
    kept = (weights[:, 0] != 0).double()  # (draws, inputs)
    assert torch.allclose(weights, kept[:, None] * WEIGHT, rtol=1e-9, atol=1e-12)
    error = (keep * (1 - keep) / len(z)).sqrt()
    gaps = ((kept.mean(0) - keep[0]) / error[0]).abs()
    assert bool((gaps < 4.5).all()), (
        f"shares of kept inputs are {gaps.tolist()} standard errors off"
    )
    fixed = BinaryDropout(0.3, scaling="test")
    other = fixed.gaussian(fixed.initial(WEIGHT))
    mine = LearnedBinary(0.7, per="layer")
    ours = mine.gaussian(mine.initial(WEIGHT))
    for a, b in (
        (ours.mean, other.mean),
        (ours.variance, other.variance),
        (ours.scale, other.scale),
    ):
        assert torch.allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("logit", [-20.0, 20.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_finite_far_out(logit: float, dtype: torch.dtype) -> None:
    theta = WEIGHT.to(dtype)
    q = LearnedBinary().gaussian({"theta": theta, "logit": torch.full((1, 3), logit, dtype=dtype)})
    drawn = q.weights(q.draw(stream(Key(), dtype=dtype), "layer", examples=7))
    want = theta.expand(7, *theta.shape) if logit > 0 else torch.zeros_like(drawn)
    assert torch.allclose(drawn, want, rtol=1e-5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"keep": 1.0},
            "keep of the posterior must be a finite number above 0 and below 1, not 1.0.",
        ),
        (
            {"keep": [0.5, 0]},
            "keep of the posterior must be a finite number above 0 and below 1, not 0.",
        ),
        ({"per": "weight"}, "per of the posterior is unknown: 'weight'."),
        ({"rate": 0.5}, "'learned-binary' has no option 'rate'."),
    ],
)
def test_what_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        gaussian.from_spec({"kind": "learned-binary", **spec})


# The prior


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_the_kl_is_the_sum_over_both_values(keep: float) -> None:
    logit = torch.linspace(-6, 6, 25, dtype=torch.float64)
    q = logit.sigmoid()
    want = q * (q / keep).log() + (1 - q) * ((1 - q) / (1 - keep)).log()
    assert torch.allclose(BernoulliPrior(keep).kl_logit(logit), want, rtol=1e-10, atol=1e-14)
    moments = BernoulliPrior(keep).kl(3.0 * q, 9.0 * q * (1 - q))
    assert float(moments) == pytest.approx(float(want.sum()), rel=1e-9)
    assert float(BernoulliPrior(keep).kl_logit(torch.tensor(math.log(keep / (1 - keep))))) == (
        pytest.approx(0, abs=1e-7)
    )
    far = torch.tensor([-1000.0, 1000.0], dtype=torch.float64, requires_grad=True)
    value = BernoulliPrior(keep).kl_logit(far)
    assert value.tolist() == pytest.approx([-math.log(1 - keep), -math.log(keep)])
    (slope,) = torch.autograd.grad(value.sum(), far)
    assert bool(slope.isfinite().all())


@pytest.mark.parametrize("per", ["input", "layer"])
def test_a_problem_has_one_term_for_each_number_of_a_mask(per: str) -> None:
    problem = problems.build("p", "classification", build(per=per, keep=[0.8, 0.3]))
    parameters = problem.initial(Key(("kl",)))
    terms = [0.8 * math.log(0.8 / 0.9) + 0.2 * math.log(0.2 / 0.1)]
    terms.append(0.3 * math.log(0.3 / 0.9) + 0.7 * math.log(0.7 / 0.1))
    want = 64 * terms[0] + 5 * terms[1]  # inputs of the two layers
    assert float(problem.kl(parameters)) == pytest.approx(want, rel=1e-5)


def build(prior: object = None, **options: Any) -> dict[str, Any]:
    form = {"kind": "learned-binary", **options}
    return {
        "widths": [5],
        "parameterization": form,
        "prior": prior or {"kind": "bernoulli", "keep": 0.9},
    }


@pytest.mark.parametrize("prior", ["gaussian", "log-uniform"])
def test_a_prior_of_weights_is_refused(prior: str) -> None:
    message = (
        r"problem '.*': the prior '.*' is one of weights, and the posterior 'learned-binary' is one of masks; "
        r"expected the prior bernoulli or none\."
    )
    with pytest.raises(InputError, match=message):
        problems.build("p", "classification", build(prior))
    assert problems.build("p", "classification", build("none")).kl is not None


@pytest.mark.parametrize(
    "kind", ["mean-log_variance", "theta-log_alpha", "binary-dropout", "point"]
)
def test_a_prior_of_masks_is_refused_for_weights(kind: str) -> None:
    message = rf"'bernoulli\(keep=0.5\)' is one of learned masks, and the posterior '{kind}' is one of weights"
    with pytest.raises(InputError, match=message):
        problems.build("p", "classification", {"parameterization": kind, "prior": "bernoulli"})


@pytest.mark.parametrize("keep", [0, 1, True, "half"])
def test_a_bad_prior_is_refused(keep: Any) -> None:
    with pytest.raises(InputError, match=r"prior 'bernoulli': option 'keep' is .*, expected a num"):
        priors.from_spec({"kind": "bernoulli", "keep": keep})


# Evaluation and training


def small() -> tuple[Problem, dict[str, Tensor]]:
    problem = problems.build("p", "classification", build(keep=[0.8, 0.3]))
    return problem, problem.initial(Key(("small",)))


def test_roles() -> None:
    problem, _ = small()
    assert {n: g.role for n, g in problem.groups.items()} == {
        f"{layer}.{name}": role
        for layer, (name, role) in itertools.product(
            ("fc1", "fc2"), {"theta": "theta", "logit": "logit", "bias": "bias"}.items()
        )
    }
    assert set(problem.free(problem.start)) == set(problem.start)


def test_an_evaluation_draws_masks() -> None:
    """Weights of a sample are θ or 0, an input feature at a time, kept as often as q says; and no two alike."""
    problem, parameters = small()
    kept = []
    for s in range(400):
        drawn = evaluation.sampled_weights(problem, parameters, Key(("draws",)), s)
        mask = (drawn["fc2"] != 0).all(0)
        assert torch.allclose(drawn["fc2"], parameters["fc2.theta"] * mask, rtol=1e-4)
        kept.append((drawn["fc1"] != 0).all(0))
    shares = torch.stack(kept).double().mean()
    error = math.sqrt(0.8 * 0.2 / (400 * 64))
    assert abs(float(shares) - 0.8) < 4.5 * error, f"{float(shares):.4f} of the inputs are kept"
    assert not torch.equal(kept[0], kept[1])


def test_the_bound_is_the_expected_likelihood_less_the_kl() -> None:
    problem, parameters = small()
    found = evaluation.bound(problem, parameters, Key(("bound",)), 2)
    assert found.kl == pytest.approx(float(problem.kl(parameters)))
    assert found.elbo == pytest.approx(found.log_likelihood - found.kl)


@pytest.mark.parametrize("name", ["rloo", "disarm", "rebar", "concrete", "straight-through"])
def test_training_raises_the_bound_and_moves_the_logits(name: str) -> None:
    problem, parameters = small()
    trainer = Trainer(problem, get(name), parameters, 128, 0.01, Key(("train", name)))
    trainer.advance(60)
    before, after = (
        evaluation.bound(problem, p, Key(("bound",)), 8) for p in (parameters, trainer.parameters)
    )
    assert after.elbo > before.elbo + 100, (name, before, after)
    for layer in ("fc1", "fc2"):
        moved = trainer.parameters[f"{layer}.logit"] - parameters[f"{layer}.logit"]
        assert float(moved.abs().max()) > 0.05, (name, layer)


def test_training_finds_the_inputs_that_matter() -> None:
    """Two inputs, one the answer and one noise that hides it: kept and dropped, whatever they start at."""
    from vdbench.datasets import Dataset, Split
    from vdbench.problems.from_module import noisy

    noise = stream(Key(("inputs",)))
    clear = noise("clear", (400, 1), law="sign")
    split = Split(torch.cat([clear, 3 * noise("noise", (400, 1))], 1), (clear[:, 0] > 0).long())
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-1.0, 0.7], [1.0, -0.7]]))
    problem = noisy(
        layer, Dataset("two", split, split, 2),
        parameterization=LearnedBinary(0.5), prior=BernoulliPrior(0.5),
    )  # fmt: skip
    for name in ("disarm", "rebar", "rloo"):
        trainer = Trainer(problem, get(name), problem.start, 50, 0.05, Key(("find", name)))
        held = {n: v for n, v in trainer.parameters.items() if not n.endswith("logit")}
        for _ in range(60):
            trainer.advance(1)
            for parameter, value in held.items():  # the logits alone are learned
                value.copy_(problem.start[parameter])
        keep = trainer.parameters["0.logit"].sigmoid().flatten().tolist()
        assert keep[0] > 0.8, (name, keep)
        assert keep[1] < 0.2, (name, keep)
