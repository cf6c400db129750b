"""Means and scales of a module of another library, its KL weight, and rows that the network never uses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from layer_kinds import Net
from refused_models import FEATURES, classes, dense, numbers
from torch import Tensor, nn

from vdbench.errors import InputError
from vdbench.estimation.draws import gather, gradients, trace
from vdbench.estimation.options import get
from vdbench.noise import Key
from vdbench.problems.from_module import noisy
from vdbench.problems.problem import Problem


class Foreign(nn.Module):
    """A dense layer as bayesian-torch and torchbnn keep them."""

    def __init__(self, inputs: int, outputs: int, mean: str, scale: str, bias: str) -> None:
        super().__init__()
        self.register_parameter(mean, nn.Parameter(torch.randn(outputs, inputs)))
        self.register_parameter(scale, nn.Parameter(torch.randn(outputs, inputs) - 3))
        self.register_parameter(bias, nn.Parameter(torch.randn(outputs)))


def _net() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 5), nn.LayerNorm(5), nn.Linear(5, 3))


def _trained(*names: str) -> nn.Module:
    torch.manual_seed(0)
    norm = nn.LayerNorm(5)
    nn.init.normal_(norm.weight)
    return nn.Sequential(Foreign(FEATURES, 5, *names), norm, Foreign(5, 3, *names))


SOFTPLUS, EXP = nn.functional.softplus, torch.exp


@pytest.mark.parametrize(
    ("names", "scale", "given"),
    [
        (("mu_weight", "rho_weight", "mu_bias"), SOFTPLUS, None),
        (("weight_mu", "weight_log_sigma", "bias_mu"), EXP, None),
        (("m", "s", "b"), EXP, {"mean": "m", "scale": ("s", "exp"), "bias": "b"}),
        (("m", "s", "b"), EXP, {"mean": "m", "scale": ("s", (torch.exp, torch.log)), "bias": "b"}),
    ],
)
def test_a_problem_starts_where_a_module_of_another_library_was_trained(
    names: tuple[str, ...], scale: Any, given: Any
) -> None:
    trained = _trained(*names)
    for parameters in (trained, trained.state_dict()):
        if given is None and not isinstance(parameters, nn.Module):
            continue
        problem = noisy(_net(), classes(numbers()), parameters=parameters, names=given)
        at = problem.initial(Key())
        for layer in ("0", "2"):
            mean, rho, bias = (trained.get_submodule(layer).get_parameter(n) for n in names)
            torch.testing.assert_close(at[f"{layer}.mean"], mean.detach())
            torch.testing.assert_close((at[f"{layer}.log_variance"] / 2).exp(), scale(rho).detach())
            torch.testing.assert_close(at[f"{layer}.bias"], bias.detach())
        torch.testing.assert_close(at["1.weight"], trained[1].weight.detach())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, r"no mean and scale of layer '0' by names that are known; its own parameters are m, s, b; expected"),
        ({"mean": "m"}, r"names must be such as"),
        ({"mean": "m", "scale": ("s", "softpuls")}, r"there is no transform 'softpuls'"),
        ({"mean": "mu", "scale": ("s", "exp")}, r"by the names mu and s; its own"),
    ],
)  # fmt: skip
def test_names_that_are_not_there_are_refused(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        noisy(_net(), classes(numbers()), parameters=_trained("m", "s", "b"), names=given)


def test_a_network_with_other_averages_is_refused() -> None:
    net = nn.Sequential(dense(), nn.BatchNorm1d(3)).eval()
    trained = nn.Sequential(
        Foreign(FEATURES, 3, "mu_weight", "rho_weight", "mu_bias"), nn.BatchNorm1d(3)
    )
    trained[1].running_mean += 1
    with pytest.raises(
        InputError, match=r"'1\.running_mean' is fixed in the network and has other values"
    ):
        noisy(net, classes(numbers()), parameters=trained)


def test_the_kl_is_multiplied_by_a_weight_of_the_user_s() -> None:
    net, data = dense(), classes(numbers())
    one, cold = noisy(net, data), noisy(net, data, kl_weight=0.1)
    torch.testing.assert_close(cold.kl(cold.start), 0.1 * one.kl(one.start))
    assert "the KL is multiplied by 0.1" in cold.behaviour.said
    with pytest.raises(
        InputError, match=r"kl_weight must be a finite number of at least 0, not -1"
    ):
        noisy(net, data, kl_weight=-1)


def _padded() -> Problem:
    net = Net(
        lambda s, x: s.f(s.e(x).sum(1)), e=nn.Embedding(6, 2, padding_idx=1), f=nn.Linear(2, 3)
    )
    words = torch.arange(24).reshape(8, 3) % 6
    return noisy(net, (words, torch.arange(8) % 3)).to("cpu", torch.float64)


def test_the_kl_leaves_out_an_embedding_s_row_that_stays_0() -> None:
    problem = _padded()
    free = {n: v.clone().requires_grad_() for n, v in problem.start.items()}
    value = problem.kl(free)
    value.backward()
    for role in ("mean", "log_variance"):
        slope = free[f"e.{role}"].grad
        assert slope is not None
        assert not bool(slope[1].any())
        assert bool(slope[[0, 2, 3, 4, 5]].all())
    rows, want = [0, 2, 3, 4, 5], 0.0
    for name, keep in (("e", rows), ("f", slice(None))):
        mean, log = (problem.start[f"{name}.{role}"][keep] for role in ("mean", "log_variance"))
        want += float(0.5 * (mean.square() + log.exp() - log - 1).sum())
    assert math.isclose(float(value.detach()), want, rel_tol=1e-12)


def test_a_sampled_kl_leaves_it_out_too() -> None:
    """The row has no gradient in any draw."""
    problem = _padded()
    batch = gather(problem, torch.arange(8).numpy())
    for of in ("naive", "grouped", "per-example"):
        estimator = get("sticking-the-landing", of=of)
        traced = trace(estimator, problem, problem.start, batch)
        many = type(batch)(*(v.expand(3, *v.shape) for v in batch))
        keys = [Key(("tests", "row", k)) for k in range(3)]
        found = gradients(estimator, problem, problem.start, many, keys, traced).gradients
        for role in ("mean", "log_variance"):
            rows: Tensor = found[f"e.{role}"]
            assert not bool(rows[:, 1].any())
            assert bool(rows[:, 0].any())


def test_biases_of_recurrent_layers_and_attention_have_the_role_of_a_bias() -> None:
    net = Net(
        lambda s, x: s.f(s.r(s.a(x[:, None], x[:, None], x[:, None])[0])[0][:, -1]),
        a=nn.MultiheadAttention(FEATURES, 1, batch_first=True),
        r=nn.GRU(FEATURES, 3, batch_first=True),
        f=nn.Linear(3, 3),
    )
    groups = noisy(net, classes(numbers())).groups
    biases = ("a.in_proj_bias", "r.bias_ih_l0", "r.bias_hh_l0", "f.bias")
    assert {groups[n].role for n in biases} == {"bias"}
    assert groups["r.bias_ih_l0"].layer == "r"
