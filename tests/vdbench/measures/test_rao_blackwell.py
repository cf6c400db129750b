"""Noise of separate weight samples by its conditional variance: against closed forms, a slow twin and brute force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import families
import numpy as np
import oracles
import pytest
import torch
from oracles import random_linear
from torch import Tensor, nn

import vdbench
from reports.output.markdown import markdown
from reports.results.load import load
from reports.sections.report import document
from reports.sections.section import Findings
from vdbench.datasets import Dataset, Split
from vdbench.errors import CellError, InputError
from vdbench.estimation.options import get
from vdbench.measures import rao_blackwell, variance_units
from vdbench.measures.context import Context
from vdbench.noise import Key
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.problem import Problem

FORMS = {
    "mean-log_variance": MeanLogVariance(0.4),
    "fixed alpha": ThetaLogAlpha(0.4, learned=False),
    "alpha per weight": ThetaLogAlpha(0.4, per="weight"),
}
TWO = ((2, 3), (3, 2))
FOUR = ((2, 3), (3, 3), (3, 3), (3, 2))


def place(
    form: Parameterization,
    sizes: tuple[tuple[int, int], ...],
    name: str = "local",
    activation: type[nn.Module] = nn.Tanh,
) -> Context:
    problem, parameters, _ = families.problem(form, sizes, 4, activation=activation)
    return Context(problem, parameters, get(name), name, 3, Key(("cell", name)), {}).at("variance")


def test_of_one_layer_it_is_the_closed_form() -> None:
    """Of a linear-Gaussian problem: what per-example's variance has beside local's, all of it in the scales."""
    of = random_linear(2015, 5, 2, True)
    at = Context(of.problem(), of.parameters(), get("local"), "local", 5, Key(("cell",)), {})
    rao_blackwell.refuse(at)
    rows = rao_blackwell.rows(at, 0, 400)
    separate, local = oracles.per_example(of), oracles.local(of)
    more = {role: float(np.mean(separate[role][1] - local[role][1])) for role in separate}
    assert more["scale"] > 0
    assert more["mean"] == pytest.approx(0, abs=1e-12)
    assert not rows["0|mean|noise"].any()
    assert not rows["0|bias|noise"].any()
    found = oracles.compare_rows("scale", rows["0|scale|noise"], more["scale"], True)
    assert not oracles.alarms([found]), found
    doubled = oracles.compare_rows("scale", 2 * rows["0|scale|noise"], more["scale"], True)
    assert oracles.alarms([doubled]), "no power"
    table = rao_blackwell.combine(rows, variance_units.rows(at, 0, 400))
    for role in ("mean", "scale", "bias"):
        noise, data, total = (table[f"0|{role}|{q}"] for q in ("noise", "data", "total"))
        np.testing.assert_allclose(noise + data, total, rtol=1e-10, atol=1e-10)


def twin(at: Context, batch: vdbench.Batch, key: Key) -> dict[str, float]:
    """The term weight by weight: whole matrices E[δδᵀ | b] of each example, and the weights' conditional covariance."""
    passed, top = rao_blackwell.forward(at, batch, key / "draw" / 1)
    found: dict[str, float] = {}
    for m in range(len(top)):
        second, mean = torch.outer(top[m], top[m]), top[m]
        for layer in reversed(passed):
            x, tau = layer.x[m], layer.tau[m]
            name, outputs = layer.layer.name, range(len(mean))
            given = [layer.scale[j] * x * tau[j] for j in outputs]  # E[ε_j | b]
            spread = [
                torch.eye(len(x)) - torch.outer(layer.scale[j] * x, layer.scale[j] * x) / v
                for j, v in enumerate(layer.variance[m])
            ]
            for coordinate, (mu, sigma) in derivatives(at, name).items():
                total = 0.0
                for j in outputs:
                    a = mu[j] + sigma[j] * given[j]
                    square = a.square() + sigma[j].square() * spread[j].diagonal()
                    total += float(
                        (x.square() * (second[j, j] * square - (mean[j] * a) ** 2)).sum()
                    )
                found[coordinate] = found.get(coordinate, 0.0) + total
            bias = float((second.diagonal() - mean.square()).sum())
            found[f"{name}.bias"] = found.get(f"{name}.bias", 0.0) + bias
            if layer.below is None:
                continue
            weights = torch.stack([layer.mean[j] + layer.scale[j] * given[j] for j in outputs])
            above = weights.T @ second @ weights
            for j in outputs:
                scales = torch.outer(layer.scale[j], layer.scale[j])
                above = above + second[j, j] * spread[j] * scales
            d = layer.below[m]
            second, mean = torch.outer(d, d) * above, d * (weights.T @ mean)
    return {name: at.problem.scale(batch) ** 2 * value for name, value in found.items()}


def derivatives(at: Context, layer: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Of μ and s in each coordinate of a layer, written out."""
    p, form = at.parameters, at.problem.parameterization
    if isinstance(form, MeanLogVariance):
        sigma = (p[f"{layer}.log_variance"] / 2).exp()
        one, none = torch.ones_like(sigma), torch.zeros_like(sigma)
        return {f"{layer}.mean": (one, none), f"{layer}.log_variance": (none, sigma / 2)}
    theta, root = p[f"{layer}.theta"], (p[f"{layer}.log_alpha"] / 2).exp()
    root = root.expand_as(theta)
    found = {f"{layer}.theta": (torch.ones_like(theta), root)}
    if form.fixed:
        return found
    return {**found, f"{layer}.log_alpha": (torch.zeros_like(theta), root * theta / 2)}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_two_layers_agree_with_the_twin_to_rounding(form: Parameterization) -> None:
    at = place(form, TWO)
    for unit in range(3):
        key = at.key / unit
        batch = at.batch(key / "minibatch")
        got, want = rao_blackwell.term(at, batch, key), twin(at, batch, key)
        assert set(got) == set(want)
        for name, value in want.items():
            assert got[name] == pytest.approx(value, rel=1e-9), name


def test_deep_networks_agree_with_the_twin_on_average_over_signs() -> None:
    """At one draw of the pre-activations: the upper two layers to rounding, the lower ones within their error."""
    at = place(MeanLogVariance(0.4), FOUR)
    batch = at.batch(at.key / "minibatch")
    want = twin(at, batch, at.key)
    draws = [_with_signs(at, batch, number) for number in range(400)]
    comparisons = []
    for name, value in want.items():
        rows = np.array([draw[name] for draw in draws])
        if name[0] in "46":
            np.testing.assert_allclose(rows, value, rtol=1e-9)
        else:
            assert rows.std() > 0
            comparisons.append(oracles.compare_rows(name, rows, value))
    wrong = oracles.alarms(comparisons)
    assert not wrong, "\n".join(wrong)


def _with_signs(at: Context, batch: vdbench.Batch, number: int) -> dict[str, float]:
    passed, top = rao_blackwell.forward(at, batch, at.key / "draw" / 1)
    return rao_blackwell.summed(at, batch, passed, top, at.key / "other signs" / number)


BRUTE = [("mean-log_variance", nn.Tanh), ("fixed alpha", nn.ReLU)]


@pytest.mark.parametrize(
    ("form", "activation", "units"),
    [(*BRUTE[0], 500), *(pytest.param(*each, 6000, marks=pytest.mark.long) for each in BRUTE)],
)
def test_it_is_the_variance_of_per_example(
    form: str, activation: type[nn.Module], units: int
) -> None:
    """Brute force: separate samples drawn, in four layers, at a family-wise false-alarm rate of 1e-5."""
    at = place(FORMS[form], FOUR, activation=activation)
    rao_blackwell.refuse(at)
    local = variance_units.rows(at, 0, units)
    ours = rao_blackwell.combine(rao_blackwell.rows(at, 0, units), local)
    theirs = variance_units.rows(place(FORMS[form], FOUR, "per-example", activation), 0, 3 * units)
    assert set(ours) == set(theirs)
    comparisons, without = [], []
    for name in ours:
        if name.endswith(("noise", "total")):
            comparisons.append(_difference(name, ours[name], theirs[name]))
            without.append(_difference(name, local[name], theirs[name]))
    wrong = oracles.alarms(comparisons)
    assert not wrong, "\n".join(wrong)
    assert oracles.alarms(without), "no power: local's own variance is not seen to be lower"


def _difference(name: str, ours: oracles.Array, theirs: oracles.Array) -> oracles.Comparison:
    errors = [rows.std(ddof=1) / len(rows) ** 0.5 for rows in (ours, theirs)]
    return oracles.Comparison(
        name, float(ours.mean()), float(np.hypot(*errors)), float(theirs.mean())
    )


def test_inputs_of_zeros_leave_finite_numbers() -> None:
    at = place(MeanLogVariance(0.4), TWO)
    batch = at.batch(at.key / "minibatch")
    zeros = vdbench.Batch(torch.zeros_like(batch.inputs), batch.targets)
    found = rao_blackwell.term(at, zeros, at.key)
    assert all(np.isfinite(value) for value in found.values())
    assert found["0.mean"] == found["0.log_variance"] == 0
    assert found["2.log_variance"] > 0


# -- what it refuses ----------------------------------------------------------------------------------------------


def user(body: nn.Module) -> Context:
    split = Split(torch.linspace(-1, 1, 24).double().reshape(8, 3), torch.arange(8) % 3)
    problem: Problem = vdbench.noisy(
        body.double(), Dataset("own", split, split, 3), parameterization=MeanLogVariance(0.3)
    )
    return Context(problem, problem.initial(Key()), get("local"), "local", 4, Key(("cell",)), {})


class Skip(nn.Module):
    """Pre-activations of the first layer reach the output past the second."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        first = self.one(x)
        return self.two(torch.tanh(first)) + first


REFUSED = {
    "a mean over outputs between layers": (
        lambda: user(nn.Sequential(nn.Linear(3, 3), nn.Softmax(1), nn.Linear(3, 3))),
        "functions of single pre-activations",
    ),
    "a path around a layer": (lambda: user(Skip()), "functions of single pre-activations"),
    "a convolution": (
        lambda: user(
            nn.Sequential(
                nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(4, 3)
            )
        ),
        "not all noisy layers are dense",
    ),
    "an alpha of all weights": (
        lambda: place(ThetaLogAlpha(0.4), TWO), "is a coordinate that weights share",
    ),
    "noise that outputs share": (
        lambda: place(ThetaLogAlpha(0.4, sharing="inputs"), TWO, "naive"),
        "not one of independent normal weights",
    ),
    "pre-activations of flipout": (
        lambda: place(MeanLogVariance(0.4), TWO, "flipout"), "is not the mean of the gradient",
    ),
    "pre-activations of a shared weight": (
        lambda: place(MeanLogVariance(0.4), TWO, "naive"), "is not the mean of the gradient",
    ),
    "gradients of weights": (
        lambda: place(MeanLogVariance(0.4), TWO, "score"), "not one of sampled pre-activations",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_where_it_is_not_valid(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(CellError, match=message):
        rao_blackwell.refuse(make())


SUITE: dict[str, Any] = {
    "name": "in-part",
    "problems": [{"name": "digits", "options": {"widths": [6]}}],
    "batch_sizes": [8],
    "estimators": ["local", "per-example", "naive"],
    "baseline": "local",
    "measures": {
        "variance": {
            "first_units": 16, "max_units": 16,
            "rao_blackwell": ["per-example"], "data_from": "local",
        }
    },
}  # fmt: skip


def test_a_run_says_how_the_noise_was_obtained(tmp_path: Path) -> None:
    table = vdbench.run(SUITE, tmp_path / "run").results
    own = table[(table["label"] == "per-example") & (table["metric"] == "variance.noise")]
    assert len(own)
    assert (own["message"].str.startswith("noise of local plus the conditional variance")).all()
    assert own["detail"].str.contains('"conditional_on": "pre-activations"').all()
    told = " ".join(markdown(document(Findings(load([tmp_path / "run"])))).split())
    assert "noise is that of local plus the conditional variance given its pre-activations" in told
    assert "Noise from pre-activations." in told
    compared = vdbench.compare(
        tmp_path / "run", base="per-example", new="local", metrics=["variance.noise"]
    )
    assert {row.role for row in compared.rows} == {"mean", "scale", "bias"}
    assert all(row.value <= 1 for row in compared.rows), compared.rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rao_blackwell": ["naive"]}, "does not draw separate weights for each example"),
        ({"few_examples": {"per-example": 2}}, "in few_examples and in rao_blackwell"),
        ({"data_from": None}, "rao_blackwell and data_from are given together"),
        ({"data_from": "per-example"}, "is itself in rao_blackwell"),
        ({"rao_blackwell": ["per-exampl"]}, "Did you mean 'per-example'"),
    ],
)
def test_a_suite_that_asks_for_it_wrongly_is_refused(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    spec = {**SUITE["measures"]["variance"], **change}
    with pytest.raises(InputError, match=message):
        vdbench.run({**SUITE, "measures": {"variance": spec}}, tmp_path / "run")


def test_wrapped_estimators_do_not_draw_separate_weights_alone() -> None:
    assert get("per-example").separate_weights
    assert not get("antithetic", of=get("per-example")).separate_weights
    assert not get("samples", of=get("per-example"), samples=2).separate_weights
