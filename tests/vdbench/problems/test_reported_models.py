"""Models that version 0.1.0 measured wrongly, crashed on or refused for a wrong reason, one a kind.

Sequences in several forms are in test_places.py, layers of all kinds in tests/estimators/test_layer_kinds.py.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from layer_kinds import Masked, Net
from torch import Tensor, nn

from vdbench import datasets
from vdbench.datasets import Dataset, Split
from vdbench.errors import InputError
from vdbench.noise import Key
from vdbench.problems.from_module import noisy
from vdbench.problems.likelihoods import GaussianNoise
from vdbench.problems.problem import Batch, Problem
from vdbench.training.evaluation import mean_weights, predict

X = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
Y = torch.randint(3, (200,), generator=torch.Generator().manual_seed(1))


def data(x: Tensor, y: Tensor, classes: int = 3) -> Dataset:
    return Dataset("d", Split(x, y), Split(x, y), classes)


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def outputs(problem: Problem, x: Tensor) -> Tensor:
    weights = mean_weights(problem, problem.start)
    return problem.outputs(lambda layer, z: layer.linear(z, weights[layer.name]), x, problem.start)


def test_targets_are_never_broadcast() -> None:
    net = nn.Linear(8, 1)
    with torch.no_grad():
        net.weight.zero_()
        net.weight[0, 0] = 3
        net.bias.zero_()
    y = 3 * X[:, 0]
    with pytest.raises(InputError, match=r"targets have shape \(M,\) and .* outputs \(M, 1\)"):
        noisy(net, data(X, y, 1), likelihood=GaussianNoise(0.01))
    problem = noisy(net, data(X, y[:, None], 1), likelihood=GaussianNoise(0.01))
    value = problem.likelihood(outputs(problem, X), y[:, None])
    assert float(value.mean()) == pytest.approx(1.38, abs=0.01)


def test_the_user_s_data_are_as_they_were() -> None:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n = nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.n(x.sub_(0.5).div_(0.25))
            return out

    digits = datasets.load("digits")
    before = digits.train.inputs.clone(), digits.test.inputs.clone()
    problem = noisy(Normalised(), digits)
    for _ in range(2):
        predict(problem, problem.start, [mean_weights(problem, problem.start)], digits.test)
    assert torch.equal(digits.train.inputs, before[0])
    assert torch.equal(digits.test.inputs, before[1])


@pytest.mark.parametrize("width", [16, 1500])
def test_noise_of_the_network_s_own_is_refused(width: int) -> None:
    net = Net(
        lambda s, x: s.c(F.dropout(s.b(s.a(x).relu()).relu(), 0.5, training=s.training)),
        a=nn.Linear(8, width),
        b=nn.Linear(width, width),
        c=nn.Linear(width, 3),
    )
    with pytest.raises(InputError, match=r"draws noise of its own.*call module\.eval\(\) first"):
        noisy(net, data(X, Y))
    assert len(noisy(net.eval(), data(X, Y)).layers) == 3


def test_a_network_s_own_forward_and_hooks_are_kept() -> None:
    masked = nn.Sequential(Masked(8, 16), nn.ReLU(), nn.Linear(16, 3))
    hooked = mlp()
    hooked[0].register_forward_hook(lambda module, x, out: 2 * out)
    for net in (masked, hooked):
        torch.testing.assert_close(outputs(noisy(net, data(X, Y)), X), net(X), rtol=1e-5, atol=1e-6)
    normed = mlp()
    torch.nn.utils.parametrizations.weight_norm(normed[0])
    with pytest.raises(InputError, match=r"layer '0' is computed anew.*WeightNorm"):
        noisy(normed, data(X, Y))
    assert [a.name for a in noisy(normed, data(X, Y), layers="2").layers] == ["2"]


def test_tied_weights_are_one() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.e, self.d = nn.Embedding(50, 16), nn.Linear(16, 50)
            self.d.weight = self.e.weight

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.d(torch.tanh(self.e(x)).mean(1))
            return out

    x, y = torch.randint(50, (60, 5)), torch.randint(50, (60,))
    problem = noisy(Tied(), data(x, y, 50), keep_weights=False)
    start = problem.initial(Key(("k",)))
    assert sum(v.numel() for k, v in start.items() if "log_variance" not in k) == 850
    assert problem.behaviour.whole == {"e": "it is one weight with d.weight"}


def test_attributes_of_a_layer_are_there_and_attention_works() -> None:
    sized = Net(lambda s, x: s.f(x.view(-1, s.f.in_features)), f=nn.Linear(8, 3))
    assert [a.name for a in noisy(sized, data(X, Y)).layers] == ["f"]
    attention = Net(
        lambda s, x: s.f(s.a(x, x, x, need_weights=False)[0].mean(1)),
        a=nn.MultiheadAttention(8, 2, batch_first=True),
        f=nn.Linear(8, 3),
    )
    x = torch.randn(60, 5, 8, generator=torch.Generator().manual_seed(2))
    problem = noisy(attention, data(x, Y[:60]))
    assert [a.name for a in problem.layers] == ["a.in_proj_weight", "a.out_proj", "f"]
    torch.testing.assert_close(outputs(problem, x), attention(x), rtol=1e-5, atol=1e-6)


def test_labels_outside_the_classes_are_refused() -> None:
    labels = torch.where(torch.arange(200) % 2 == 0, -100, (X[:, 0] > 0).long())
    with pytest.raises(InputError, match=r"−100 at row 0 \(100 values below 0\)"):
        noisy(nn.Linear(8, 2), data(X, labels, 2))


def test_batch_norm_in_eval_mode_is_an_affine_map() -> None:
    net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    net(X)  # running averages that are not 0 and 1
    net.eval()
    problem = noisy(net, data(X, Y))
    torch.testing.assert_close(outputs(problem, X), net(X), rtol=1e-5, atol=1e-6)
    value = problem.log_likelihood(
        lambda layer, z: layer.linear(z, problem.posterior(layer, problem.start).mean),
        Batch(X[:4], Y[:4]),
        problem.start,
    )
    assert value.shape == (4,)


def test_given_parameters_are_where_a_problem_starts() -> None:
    net = mlp()
    given = {"0.mean": torch.ones(16, 8), "0.scale": torch.full((16, 8), 0.3)}
    problem = noisy(net, data(X, Y), parameters=given)
    start = problem.initial(Key(("k",)))
    q = problem.posterior(problem.layers[0], start)
    torch.testing.assert_close(q.scale, given["0.scale"])
    assert torch.equal(q.mean, given["0.mean"])
    for wrong, message in (
        ({"0.maen": torch.ones(16, 8)}, r"there is no parameter '0\.maen'.*'0\.mean'"),
        ({"0.mean": torch.ones(8, 16)}, r"'0\.mean' has shape \(8, 16\); expected \(16, 8\)"),
        ({"0.mean": torch.full((16, 8), torch.nan)}, r"'0\.mean' has a number that is not finite"),
    ):
        with pytest.raises(InputError, match=message):
            noisy(net, data(X, Y), parameters=wrong)
