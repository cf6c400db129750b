"""The prior's term for every family of noise: one KL a noise variable, weight decay, nothing, or refused."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vdbench import problems
from vdbench.datasets import Dataset, Split
from vdbench.errors import InputError
from vdbench.noise import Key, stream
from vdbench.problems import priors
from vdbench.problems.dropout import BinaryDropout, Point
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.priors import GaussianPrior, LogUniformPrior, NoPrior, Prior
from vdbench.problems.problem import Problem

KEY = Key(("tests", "divergence"))
SIZES = ((3, 5), (5, 2))
FORMS = ("exact", "kingma", "molchanov")


def network(form: Parameterization, prior: Prior | None) -> Problem:
    noise = stream(KEY, dtype=torch.float64)
    split = Split(noise("x", (4, 3)), torch.arange(4) % 2)
    body = nn.Sequential(*(nn.Linear(a, b).double() for a, b in SIZES))
    problem = noisy(body, Dataset("d", split, split, 2), parameterization=form, prior=prior)
    for name, value in problem.start.items():
        spread = noise(name, value.shape)
        value.copy_(value - 1.5 + 0.3 * spread if name.endswith("alpha") else spread)
    return problem


def gradient(problem: Problem) -> dict[str, Tensor]:
    leaves = {n: v.clone().requires_grad_() for n, v in problem.start.items()}
    found = torch.autograd.grad(
        problem.kl(leaves), list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    return dict(zip(leaves, found, strict=True))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("per", ["layer", "input"])
def test_shared_noise_has_one_term_for_each_input(form: str, per: Any) -> None:
    """Kingma et al. 2015, section 3.2: KL of q(ξ_i) = N(1, α_i), K of them whatever the number of outputs."""
    prior = LogUniformPrior(form)
    problem = network(ThetaLogAlpha(sharing="inputs", per=per), prior)
    want = torch.zeros((), dtype=torch.float64)
    for layer, (inputs, _) in zip(problem.layers, SIZES, strict=True):
        alpha = problem.start[f"{layer.name}.log_alpha"].exp().expand(1, inputs)
        want += sum(prior.kl(torch.ones(1).double(), a[None]) for a in alpha[0])
    torch.testing.assert_close(problem.kl(problem.start), want, rtol=1e-12, atol=0)
    own = network(
        ThetaLogAlpha(per=per), prior
    )  # the same parameters: the noise of every weight counts
    alone = sum(
        outputs * own.prior.kl_alpha(own.start[f"{layer.name}.log_alpha"].expand(1, inputs)).sum()  # type: ignore[attr-defined]
        for layer, (inputs, outputs) in zip(own.layers, SIZES, strict=True)
    )
    torch.testing.assert_close(own.kl(own.start), alone, rtol=1e-12, atol=0)


@pytest.mark.parametrize("sharing", ["weights", "inputs"])
def test_the_log_uniform_term_does_not_see_theta(sharing: Any) -> None:
    """With α fixed it is a constant, and its gradient in θ is exactly 0."""
    problem = network(ThetaLogAlpha(sharing=sharing, learned=False), LogUniformPrior())
    slopes = gradient(problem)
    assert not any(bool(v.any()) for n, v in slopes.items() if n.endswith("theta"))
    assert all(bool(v.any()) for n, v in slopes.items() if n.endswith("log_alpha"))


@pytest.mark.parametrize(
    "prior", [LogUniformPrior(f) for f in FORMS] + [GaussianPrior(0.7)], ids=str
)
def test_a_coarser_alpha_gathers_the_gradients_of_its_weights(prior: Prior) -> None:
    """∂KL/∂log α of an input is the sum over its outputs of that of each weight, and so on up to the layer."""
    fine = network(ThetaLogAlpha(per="weight"), prior)
    found: dict[str, Tensor] = {}
    sums = {"input": lambda g: g.sum(0, keepdim=True), "output": lambda g: g.sum(1, keepdim=True),
            "layer": lambda g: g.sum().reshape(1)}  # fmt: skip
    for per, gather in sums.items():
        coarse = network(ThetaLogAlpha(per=per), prior)  # type: ignore[arg-type]
        for name, value in coarse.start.items():
            fine.start[name].copy_(value)  # type: ignore[index]
        found, whole = gradient(fine), gradient(coarse)
        for layer in fine.layers:
            name = f"{layer.name}.log_alpha"
            torch.testing.assert_close(whole[name], gather(found[name]), rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(fine.kl(fine.start), coarse.kl(coarse.start), rtol=1e-12, atol=0)


WITHOUT_DENSITY = [
    BinaryDropout(0.3),
    BinaryDropout(0.3, scaling="test"),
    BinaryDropout(0.3, sharing="weights"),
    Point(),
]


@pytest.mark.parametrize("form", WITHOUT_DENSITY, ids=repr)
def test_a_gaussian_prior_is_weight_decay_where_q_has_no_density(form: Parameterization) -> None:
    """−log N(mean weights; 0, s²), the constant included, by torch's own density."""
    problem = network(form, GaussianPrior(0.7))
    q = [problem.posterior(layer, problem.start) for layer in problem.layers]
    zero = torch.zeros((), dtype=torch.float64)
    prior = torch.distributions.Normal(zero, zero + math.sqrt(0.7))
    want = -sum(prior.log_prob(law.mean).sum() for law in q)
    torch.testing.assert_close(problem.kl(problem.start), want, rtol=1e-12, atol=0)
    slopes = gradient(problem)
    for layer in problem.layers:
        theta = problem.start[f"{layer.name}.theta"]
        kept = torch.ones(1).double()  # (1 − p) of mean = (1 − p)θ
        if getattr(form, "scaling", "") == "test":
            kept = 1 / (1 + problem.start[f"{layer.name}.log_alpha"].exp())
        torch.testing.assert_close(slopes[f"{layer.name}.theta"], kept**2 * theta / 0.7)


@pytest.mark.parametrize(
    ("form", "prior"),
    [(f, p) for f in WITHOUT_DENSITY for p in (LogUniformPrior(), NoPrior())]
    + [(f, NoPrior()) for f in (MeanLogVariance(), ThetaLogAlpha(), ThetaLogAlpha(sharing="inputs"))],
    ids=repr,
)  # fmt: skip
def test_where_there_is_no_term_it_is_zero(form: Parameterization, prior: Prior) -> None:
    problem = network(form, prior)
    assert problem.kl(problem.start).dtype == torch.float64
    assert float(problem.kl(problem.start)) == 0
    leaves = {n: v.clone().requires_grad_() for n, v in problem.start.items()}
    assert not problem.kl(leaves).requires_grad


@dataclass(frozen=True)
class Own:
    """Somebody's prior, known for independent normal weights alone."""

    def kl(self, mean: Tensor, variance: Tensor) -> Tensor:
        return (mean.square() + variance).sum()


LINE = "one random number an input feature, so its weights lie on a line; expected the prior log-uniform or none."


@pytest.mark.parametrize(
    ("form", "prior", "message"),
    [
        (ThetaLogAlpha(sharing="inputs"), None,
         f"problem 'module': the KL from prior 'gaussian(variance=1)' is infinite, since the posterior "
         f"'theta-log_alpha' has {LINE}"),
        (ThetaLogAlpha(sharing="inputs", learned=False), GaussianPrior(2.0), LINE),
        (ThetaLogAlpha(sharing="inputs"), Own(), LINE),
        (BinaryDropout(), Own(),
         "'binary-dropout' has no density over the weights; expected the prior log-uniform or none, or gaussian for "
         "weight decay."),
        (Point(), Own(), "the posterior 'point' has no density over the weights; expected the prior log-uniform or"),
    ],
)  # fmt: skip
def test_an_infinite_kl_is_refused(form: Parameterization, prior: Prior, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        network(form, prior)
    assert "\n" not in str(caught.value)


def test_a_prior_of_one_s_own_serves_independent_normal_weights() -> None:
    problem = network(ThetaLogAlpha(), Own())
    assert float(problem.kl(problem.start)) > 0


def test_suites_reach_them() -> None:
    assert priors.from_spec("none") == NoPrior()
    shared = {"kind": "theta-log_alpha", "sharing": "inputs", "per": "input"}
    options = {"dataset": "digits", "widths": [4], "parameterization": shared}
    problem = problems.build("own", "classification", {**options, "prior": "log-uniform"})
    assert problem.start["fc1.log_alpha"].shape == (1, 64)
    with pytest.raises(InputError, match=r"problem 'own': .*is infinite"):
        problems.build("own", "classification", options)
