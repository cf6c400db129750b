"""What a network does is seen when its problem is made: right, or refused with one sentence that names the cause."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from layer_kinds import KINDS, Net, make
from refused_models import FEATURES, REFUSED, classes, dense, numbers
from torch import Tensor, nn

from vdbench.datasets import Dataset, Split
from vdbench.errors import CellError, InputError
from vdbench.estimation.draws import gradients, trace
from vdbench.estimation.options import get
from vdbench.noise import Key, stream
from vdbench.problems import probe_gradient
from vdbench.problems.from_module import noisy
from vdbench.problems.identity import fingerprint
from vdbench.problems.layers import Layer
from vdbench.problems.likelihoods import GaussianNoise
from vdbench.problems.problem import Batch, Problem

WHOLE = {
    "tied": ["e"],
    "weight-read-outside": ["a"],
    "holds-a-parameter-more": ["a"],
    "derivative-in-its-input": ["a", "b"],
    "own-forward": ["0"],
    "bilinear": ["b"],
    "embedding": ["e"],
    "embedding-with-a-padding-row": ["e"],
    "embedding-bag": ["e"],
    "attention": ["a.in_proj_weight", "a.out_proj"],
    "encoder-layer": ["layer.self_attn.in_proj_weight", "layer.self_attn.out_proj"],
    "encoder-layer-sequence-first": ["layer.self_attn.in_proj_weight", "layer.self_attn.out_proj"],
    "lstm": ["cell.weight_ih_l0", "cell.weight_hh_l0"],
    "gru": ["cell.weight_ih_l0", "cell.weight_hh_l0"],
    "gru-cell": ["cell.weight_ih", "cell.weight_hh"],
    "adapter": ["0.down", "0.up"],
}
LOOPED = {"bilinear", "embedding-bag", "derivative-in-its-input"}


def at_mean(problem: Problem) -> Callable[[Layer, Tensor], Tensor]:
    return lambda layer, x: layer.linear(x, problem.posterior(layer, problem.start).mean)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", KINDS)
def test_at_the_mean_weights_a_problem_computes_what_the_module_does(name: str) -> None:
    module, data, likelihood, options = make(name)
    before = {n: v.clone() for n, v in module.state_dict().items()}
    problem = noisy(module, data, likelihood=likelihood, **options)
    x = data.train.inputs
    with torch.no_grad():
        found = problem.outputs(at_mean(problem), x, problem.start)
        torch.testing.assert_close(found, module(x), rtol=1e-5, atol=1e-6)
    assert all(torch.equal(v, before[n]) for n, v in module.state_dict().items())
    if name != "lstm-both-ways":
        assert [a.name for a in problem.whole] == WHOLE.get(name, [])
    assert problem.behaviour.vectorises == (name not in LOOPED), problem.behaviour.why_looped
    assert set(problem.uses) == {a.name for a in problem.layers}
    fingerprint(problem)


def test_frozen_and_unchosen_layers_are_named_and_not_counted() -> None:
    frozen = make("frozen")
    problem = noisy(frozen.module, frozen.data)
    assert [a.name for a in problem.layers] == ["2"]
    assert problem.behaviour.without["0"] == "frozen (requires_grad is False)"
    assert problem.behaviour.frozen == ("0.weight", "0.bias")
    assert not [n for n in problem.start if n.startswith("0.")]
    chosen = noisy(*make("last-layer")[:2], layers=lambda name, module: name == "2")
    assert chosen.behaviour.without["0"] == "not chosen"
    assert {"0.weight", "0.bias"} <= set(chosen.start)  # trained without noise


@pytest.mark.parametrize("case", REFUSED)
def test_networks_that_cannot_be_measured_are_refused_in_one_sentence(case: str) -> None:
    build, message = REFUSED[case]
    with torch.random.fork_rng():
        module = build()
        with pytest.raises(InputError, match=message) as caught:
            noisy(module, classes(numbers()), name="mine")
    text = str(caught.value)
    assert text.startswith("problem 'mine': ")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("heda", r"no layer matches 'heda'.*'head'"),
        (["body", "hed.*"], r"no layer matches 'hed\.\*'"),
        (3.5, r"layers must be names"),
        ("body", r"layer 'body' was chosen and its weight is frozen"),
        (lambda name, module: False, r"no layer to make noisy"),
    ],
)
def test_choices_of_layers_that_name_none_are_refused(layers: Any, message: str) -> None:
    net = Net(lambda s, x: s.head(s.body(x)), body=nn.Linear(FEATURES, FEATURES), head=dense())
    net.body.requires_grad_(False)
    chosen = [layers] if isinstance(layers, float) else layers
    with pytest.raises(InputError, match=message):
        noisy(net, classes(numbers()), layers=chosen)


def test_an_input_that_is_written_is_a_copy() -> None:
    data = classes(numbers())
    before = data.train.inputs.clone()
    net = Net(lambda s, x: s.f(x.sub_(0.5).div_(0.25)), f=dense())
    problem = noisy(net, data)
    assert problem.behaviour.writes_inputs
    values = [problem.outputs(at_mean(problem), data.train.inputs, problem.start) for _ in range(2)]
    assert torch.equal(*values)
    assert torch.equal(data.train.inputs, before)


def test_the_global_generators_are_where_they_were() -> None:
    states = torch.random.get_rng_state(), random.getstate(), np.random.get_state()[2]
    noisy(make("dense").module, make("dense").data)
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[2] == states[2]


class Weighted:
    """Class weights in float32, as a loss holds them."""

    weights = torch.tensor([1.0, 2.0, 5.0])

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -F.cross_entropy(outputs, targets, weight=self.weights, reduction="none")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_networks_and_losses_of_one_precision_are_measured_in_it(dtype: torch.dtype) -> None:
    nets = {
        "a cast": Net(lambda s, x: s.f(x.float() / 2), f=dense()),
        "a cast at the end": Net(lambda s, x: s.f(x).float(), f=dense()),
        "half outputs": Net(lambda s, x: s.f(x).half(), f=dense()),
        "a constant": Net(lambda s, x: s.f(x) @ torch.eye(3), f=dense()),
        "a cast before attention": Net(
            lambda s, x: s.f(s.a(x[:, None].float(), x[:, None].float(), x[:, None].float())[0][:, 0]),
            a=nn.MultiheadAttention(FEATURES, 1, batch_first=True),
            f=dense(),
        ),
    }  # fmt: skip
    weights = torch.tensor([1.0, 2.0, 5.0])

    def closure(outputs: Tensor, targets: Tensor) -> Tensor:
        return -F.cross_entropy(outputs, targets, weight=weights, reduction="none")

    data = classes(numbers())
    problems = [noisy(net, data) for net in nets.values()]
    problems += [noisy(dense(), data, likelihood=own) for own in (Weighted(), closure)]
    for problem in problems:
        fingerprint(problem)
        at = problem.to("cpu", dtype)
        value = at.log_likelihood(at_mean(at), Batch(*at.data.train), at.start)
        assert value.dtype == dtype
        assert bool(torch.isfinite(value).all())


def test_integer_inputs_stay_integers() -> None:
    kind = make("embedding")
    problem = noisy(kind.module, kind.data)
    assert problem.to("cpu", torch.float64).data.train.inputs.dtype == torch.int64


def test_splits_of_different_lengths_are_refused() -> None:
    odd = Dataset(
        "odd", Split(numbers(8), torch.zeros(7).long()), Split(numbers(2), torch.zeros(2).long()), 3
    )
    with pytest.raises(InputError, match=r"the inputs have 8 rows and the targets 7"):
        noisy(dense(), odd)


def test_posteriors_of_input_noise_need_layers_with_inputs() -> None:
    from vdbench.problems.gaussian import from_spec

    kind = make("lstm")
    shared = from_spec({"kind": "theta-log_alpha", "sharing": "inputs"})
    from vdbench.problems.priors import LogUniformPrior

    with pytest.raises(InputError, match=r"shares noise among the outputs.*'cell\.weight_ih_l0'"):
        noisy(kind.module, kind.data, parameterization=shared, prior=LogUniformPrior())


def test_few_examples_are_enough() -> None:
    for n in (1, 2, 4):
        x = numbers(n)
        problem = noisy(dense(), classes(x, torch.zeros(n).long()))
        assert problem.uses["0"].places == 1
    with pytest.raises(InputError, match="training data have no examples"):
        noisy(dense(), classes(numbers(0, FEATURES)))


def test_targets_of_a_regression_are_left_alone() -> None:
    def spoils(outputs: Tensor, targets: Tensor) -> Tensor:
        return -(outputs - targets.mul_(2)).square().sum(1)

    split = Split(numbers(6), numbers(6, 3))
    with pytest.raises(InputError, match=r"the likelihood writes the targets"):
        noisy(dense(), Dataset("d", split, split, 3), likelihood=spoils)
    assert noisy(dense(), Dataset("d", split, split, 3), likelihood=GaussianNoise(1.0))


def test_weights_without_effect_are_named() -> None:
    net = Net(lambda s, x: s.f(x) + 0 * s.g(x), f=dense(), g=dense())
    said = noisy(net, classes(numbers())).behaviour.said
    assert said[-1] == "the weight of layer g has no effect on the outputs of the examples tried"


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_an_empty_layer_has_no_noise_and_a_cached_tensor_no_copy_to_make() -> None:
    empty = Net(
        lambda s, x: s.f(x) + s.g(x).sum(1, keepdim=True), f=dense(), g=nn.Linear(FEATURES, 0)
    )
    assert noisy(empty, classes(numbers())).behaviour.without["g"] == "empty"

    def caches(s: Any, x: Tensor) -> Tensor:
        s.__dict__["seen"] = s.f(x)  # no leaf of the graph: it cannot be copied
        return s.__dict__["seen"]

    assert [a.name for a in noisy(Net(caches, f=dense()), classes(numbers())).layers] == ["f"]


def test_where_one_example_is_another_thing_none_passes_alone() -> None:
    """`squeeze` drops the examples' axis of one example: chunks of per-example have two at least."""
    net = Net(lambda s, x: s.f(x) * (1 if len(x) > 1 else 2), f=dense())
    problem = noisy(net, classes(numbers(20))).to("cpu", torch.float64)
    assert not problem.behaviour.alone
    noise = stream(Key(("tests", "alone")), dtype=torch.float64)
    for examples in (2, 3, 5):
        batch = Batch(*(t[:examples] for t in problem.data.train))
        whole, parts = (get("per-example", chunk=c) for c in (examples, 2))
        want = whole(problem, problem.start, batch, noise).gradients
        for name, value in parts(problem, problem.start, batch, noise).gradients.items():
            torch.testing.assert_close(value, want[name])
    with pytest.raises(CellError, match="does not take a single example"):
        whole(problem, problem.start, Batch(*(t[:1] for t in problem.data.train)), noise)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_estimators_that_take_costs_alone_are_looped_where_these_do_not_vectorise(
    kind: str,
) -> None:
    made = make(kind)
    problem = noisy(made.module, made.data).to("cpu", torch.float64)
    batch = Batch(*(t[:2] for t in problem.data.train))
    for name, together in (("naive", True), ("deterministic", False), ("measure-valued", False)):
        traced = trace(get(name), problem, problem.start, batch)
        assert bool(traced.together) == together, name
        gradients(
            get(name),
            problem,
            problem.start,
            Batch(*(t[None] for t in batch)),
            [Key((name,))],
            traced,
        )


JUMPS: dict[str, Callable[[Tensor], Tensor]] = {
    "rounding": lambda h: (8 * h).round(),
    "a hard threshold": lambda h: (h > 0).to(h.dtype),
    "a detached part": lambda h: h.tanh().detach(),
}


@pytest.mark.parametrize("budget", [0.0, pytest.param(3e9, marks=pytest.mark.long)])
def test_jumps_are_seen_and_kinks_are_none_whatever_a_network_costs(
    budget: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large network is followed along a short line at few points. There 38 of 40 jumps were found; half must be."""
    monkeypatch.setattr(probe_gradient, "BUDGET", budget)
    found = dict.fromkeys(JUMPS, 0)
    with torch.random.fork_rng():
        for seed in range(6):
            torch.manual_seed(seed)
            wide = [nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 64), nn.Hardtanh()]
            problem = noisy(nn.Sequential(*wide, nn.Linear(64, 3)), classes(numbers(20)))
            assert problem.behaviour.vectorises, problem.behaviour.why_looped
            for name, jump in JUMPS.items():
                parts = {"f": nn.Linear(FEATURES, 4096), "g": nn.Linear(4096, 3)}
                net = Net(lambda s, x, jump=jump: s.g(jump(s.f(x))), **parts)
                try:
                    noisy(net, classes(numbers(20)))
                except InputError as error:
                    found[name] += "its gradient adds up to" in str(error)
    assert min(found.values()) >= 3, found


def test_a_network_is_refused_only_where_more_points_say_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sums over few points disagree on any network with kinks: here nearly always, as they have two and three."""
    monkeypatch.setattr(probe_gradient, "NODES", (2, 3))
    asked: list[int] = []
    along = probe_gradient._along

    def noted(*a: Any) -> tuple[float, float, float]:
        asked.append(a[3])
        return along(*a)

    monkeypatch.setattr(probe_gradient, "_along", noted)
    with torch.random.fork_rng():
        for seed in range(6):
            torch.manual_seed(seed)
            wide = [nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
            noisy(nn.Sequential(*wide, nn.Linear(64, 3)), classes(numbers(20)))
        assert max(asked) >= 96
        for jump in JUMPS.values():
            parts = {"f": nn.Linear(FEATURES, 64), "g": nn.Linear(64, 3)}
            with pytest.raises(InputError, match="its gradient adds up to"):
                noisy(Net(lambda s, x, j=jump: s.g(j(s.f(x))), **parts), classes(numbers(20)))
