"""Making a module's linear and convolutional layers noisy, and what a problem computes."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from vdbench.datasets import Dataset, Split
from vdbench.errors import InputError
from vdbench.estimation.options import get
from vdbench.noise import Key, stream
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.layers import Layer, NoisyModule
from vdbench.problems.likelihoods import Categorical, GaussianNoise
from vdbench.problems.priors import GaussianPrior, LogUniformPrior
from vdbench.problems.problem import Batch, Group, Problem
from vdbench.problems.selection import OPENED

KEY = Key(("tests", "problem"))
FEATURES, CLASSES = 4, 3


def dataset(targets: str = "classes", examples: int = 12) -> Dataset:
    noise = stream(KEY)

    def split(name: str) -> Split:
        values = noise(name, (examples, FEATURES))
        if targets == "classes":
            return Split(values, (noise(name, (examples,), "uniform") * CLASSES).long())
        return Split(values, noise(name, (examples, CLASSES)))

    return Dataset("synthetic", split("train"), split("test"), CLASSES)


class Nested(nn.Module):
    """Blocks within blocks, a normalisation, a residual connection and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(FEATURES)
        self.body = nn.Sequential(
            nn.Linear(FEATURES, 6), nn.Sequential(nn.Tanh(), nn.Linear(6, 6, bias=False))
        )
        self.heads = nn.ModuleDict({"out": nn.Linear(6, CLASSES)})
        self.gain = nn.Parameter(torch.tensor([1.5, 0.5, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        h = self.body[0](self.norm(x))
        out: Tensor = self.heads["out"](h + self.body[1](h))
        return out * self.gain


class Convolutional(nn.Module):
    """A convolution, grouped and strided, before a dense head."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, (1, 3), stride=(1, 2), padding=(0, 1))
        self.mixing = nn.Conv2d(2, 4, 1, groups=2, bias=False)
        self.head = nn.Linear(2 * FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = self.mixing(self.convolution(x[:, None, None]).relu())
        out: Tensor = self.head(h.flatten(1))
        return out


class Recurrent(nn.Module):
    """One linear layer called twice in a forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(FEATURES, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.step(self.step(x).tanh())
        return out


def reset(module: nn.Module) -> nn.Module:
    """Addressed parameters: building a module draws from the global generator."""
    with torch.no_grad():
        for name, value in module.named_parameters():
            if "norm" not in name and name != "gain":
                value.copy_(0.5 * stream(KEY)(name, value.shape))
    return module


MODULES = {
    "nested": (Nested, ["body.0", "body.1.1", "heads.out"]),
    "bare": (lambda: nn.Linear(FEATURES, CLASSES), ["0"]),
    "sequential": (
        lambda: nn.Sequential(nn.Linear(FEATURES, 5), nn.ReLU(), nn.Linear(5, CLASSES)),
        ["0", "2"],
    ),
    "convolutional": (Convolutional, ["convolution", "mixing", "head"]),
}


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest) -> nn.Module:
    with torch.random.fork_rng():
        return reset(MODULES[request.param][0]())


def batch_of(problem: Problem, size: int = 12) -> Batch:
    return Batch(*(t[:size] for t in problem.data.train))


def at_mean(problem: Problem, parameters: dict[str, Tensor]):  # type: ignore[no-untyped-def]
    return lambda layer, x: layer.linear(x, problem.posterior(layer, parameters).mean)


def naive(problem: Problem, parameters: dict[str, Tensor]):  # type: ignore[no-untyped-def]
    noise = stream(KEY, dtype=problem.dtype)

    def sampler(layer: Layer, x: Tensor) -> Tensor:
        q = problem.posterior(layer, parameters)
        return layer.linear(x, q.mean + q.scale * noise(layer.name, q.mean.shape))

    return sampler


@pytest.mark.parametrize("kind", MODULES)
def test_the_noisy_layers_are_the_linear_and_convolutional_ones(kind: str) -> None:
    make, names = MODULES[kind]
    with torch.random.fork_rng():
        plain = make()
    problem = noisy(plain, dataset())
    assert [layer.name for layer in problem.layers] == names
    linear = [m for m in plain.modules() if isinstance(m, OPENED)]
    assert [layer.weight_shape for layer in problem.layers] == [
        tuple(m.weight.shape) for m in linear
    ]
    assert not [m for m in problem.module.modules() if isinstance(m, OPENED)]
    assert set(problem.groups) == set(problem.start)


def test_groups_say_layer_and_role() -> None:
    with torch.random.fork_rng():
        groups = noisy(Nested(), dataset(), parameterization=ThetaLogAlpha()).groups
    assert groups["body.0.theta"] == Group("body.0", "theta")
    assert groups["body.0.log_alpha"] == Group("body.0", "alpha")
    assert groups["body.0.bias"] == Group("body.0", "bias")
    assert "body.1.1.bias" not in groups
    assert groups["norm.weight"].layer == "norm"
    assert groups["gain"].layer == ""


def test_the_module_is_left_as_it_is(module: nn.Module) -> None:
    before, kinds = copy.deepcopy(module.state_dict()), [type(m) for m in module.modules()]
    problem = noisy(module, dataset())
    parameters = problem.initial(KEY)
    problem.log_likelihood(naive(problem, parameters), batch_of(problem), parameters)
    for value in problem.start.values():
        value.add_(1)
    for value in parameters.values():
        value.add_(1)
    assert [type(m) for m in module.modules()] == kinds
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_without_noise_it_is_the_plain_module(module: nn.Module) -> None:
    problem = noisy(module, dataset())
    parameters = problem.initial(KEY)
    batch = batch_of(problem)
    ours = problem.log_likelihood(at_mean(problem, parameters), batch, parameters)
    theirs = -nn.functional.cross_entropy(module(batch.inputs), batch.targets, reduction="none")
    assert ours.shape == (12,)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["naive", "local", "per-example"])
def test_as_sigma_vanishes_every_estimator_has_the_plain_module_s_value(
    module: nn.Module, name: str
) -> None:
    """The difference is of first order in σ; parameters beyond the noisy layers get gradients too."""
    module = module.double()
    differences = []
    for sigma in (1e-4, 1e-8):
        problem = noisy(module, dataset(), parameterization=MeanLogVariance(sigma)).to(
            "cpu", torch.float64
        )
        parameters, batch = problem.initial(KEY), batch_of(problem, 6)
        drawn = get(name)(problem, parameters, batch, stream(KEY, dtype=torch.float64))
        assert set(drawn.gradients) == set(problem.free(parameters))
        with torch.no_grad():
            outputs = module(batch.inputs)
        plain = -nn.functional.cross_entropy(outputs, batch.targets, reduction="sum")
        differences.append(abs(float(drawn.value) - problem.scale(batch) * float(plain)))
    assert differences[0] < 0.1
    assert differences[1] < 1e-3 * differences[0]


def test_gradients_of_all_parameters_are_the_plain_module_s_when_there_is_no_noise() -> None:
    with torch.random.fork_rng():
        module = reset(Nested()).double()
    problem = noisy(module, dataset()).to("cpu", torch.float64)
    parameters, batch = problem.initial(KEY), batch_of(problem)
    ours = get("deterministic")(problem, parameters, batch, stream(KEY)).gradients
    loss = -nn.functional.cross_entropy(module(batch.inputs), batch.targets, reduction="sum")
    loss.backward()
    for name, value in module.named_parameters():
        path, _, leaf = name.rpartition(".")
        noisy_weight = leaf == "weight" and path in {layer.name for layer in problem.layers}
        torch.testing.assert_close(ours[f"{path}.mean" if noisy_weight else name], value.grad)


def test_a_noisy_layer_has_no_value_outside_a_problem() -> None:
    problem = noisy(nn.Linear(FEATURES, CLASSES), dataset())
    with pytest.raises(RuntimeError, match=r"Problem\.log_likelihood"):
        problem.module(problem.data.train.inputs)
    parameters = problem.initial(KEY)
    problem.outputs(at_mean(problem, parameters), problem.data.train.inputs, parameters)
    assert all(m.call is None for m in problem.module.modules() if isinstance(m, NoisyModule))


def test_a_failing_sampler_leaves_the_problem_usable() -> None:
    problem = noisy(nn.Linear(FEATURES, CLASSES), dataset())
    parameters = problem.initial(KEY)

    def fails(layer: Layer, x: Tensor) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        problem.log_likelihood(fails, batch_of(problem), parameters)
    problem.log_likelihood(at_mean(problem, parameters), batch_of(problem), parameters)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (nn.BatchNorm1d(5), r".*BatchNorm1d in training mode, which couples.*module\.eval\(\)"),
        (nn.SyncBatchNorm(5), r".*SyncBatchNorm in training mode, which couples"),
        (nn.Dropout(0.5), r".*draws noise of its own.*is a Dropout in training.*module\.eval\(\)"),
        (nn.AlphaDropout(0.5), r".*draws noise of its own.*is a AlphaDropout"),
    ],
)
def test_modules_that_break_the_sum_over_examples_are_refused(
    part: nn.Module, message: str
) -> None:
    module = nn.Sequential(nn.Linear(FEATURES, 5), nn.Sequential(part), nn.Linear(5, CLASSES))
    with pytest.raises(InputError, match=f"^problem 'mine': {message}") as caught:
        noisy(module, dataset(), name="mine")
    assert "\n" not in str(caught.value)


def test_dropout_that_is_off_is_no_noise() -> None:
    module = nn.Sequential(nn.Linear(FEATURES, CLASSES), nn.Dropout(0.5))
    never = nn.Sequential(nn.Linear(FEATURES, CLASSES), nn.Dropout(0.0))
    for allowed in (module.eval(), never):
        assert [layer.name for layer in noisy(allowed, dataset()).layers] == ["0"]


def test_a_module_without_a_layer_to_make_noisy_is_refused() -> None:
    with pytest.raises(InputError, match=r"no layer to make noisy: '0' is LayerNorm: weight, bias"):
        noisy(nn.Sequential(nn.LayerNorm(FEATURES)), dataset())
    with pytest.raises(InputError, match=r"no layer to make noisy: it holds no weights"):
        noisy(nn.Sequential(nn.ReLU()), dataset())


def test_how_one_example_uses_each_layer() -> None:
    with torch.random.fork_rng():
        problem = noisy(Convolutional(), dataset())
    assert problem.uses == {
        "convolution": (4, 4, 2, 1),
        "mixing": (4, 8, 2, 1),
        "head": (8, 3, 1, 1),
    }
    assert problem.shared == ("convolution", "mixing")
    moved = problem.to("cpu", torch.float64)
    assert moved.uses == problem.uses
    with torch.random.fork_rng():
        whole = nn.Sequential(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 3, 2), nn.Flatten())
    assert noisy(whole, dataset()).shared == ()  # one location: nothing is shared


def test_a_module_that_does_not_fit_the_data_is_refused() -> None:
    with pytest.raises(InputError, match=r"problem 'mine': the module does not fit inputs"):
        noisy(nn.Linear(FEATURES + 1, 3), dataset("numbers"), name="mine")


@pytest.mark.parametrize("form", [MeanLogVariance(0.3), ThetaLogAlpha(0.4)], ids=repr)
def test_kl_is_the_sum_over_all_noisy_weights(form: MeanLogVariance | ThetaLogAlpha) -> None:
    with torch.random.fork_rng():
        module = reset(Nested())
    problem = noisy(module, dataset(), prior=GaussianPrior(0.8), parameterization=form)
    parameters = problem.initial(KEY)
    total = 0.0
    for linear in [m for m in module.modules() if isinstance(m, OPENED)]:
        for mu in linear.weight.detach().flatten().tolist():
            variance = 0.09 if isinstance(form, MeanLogVariance) else 0.4 * mu * mu
            total += 0.5 * (variance / 0.8 + mu * mu / 0.8 - 1 - math.log(variance / 0.8))
    assert float(problem.kl(parameters)) == pytest.approx(total, rel=1e-5)
    assert problem.kl(parameters).shape == ()


def test_the_scale_makes_minibatches_unbiased_for_the_data_set() -> None:
    """Over a partition into minibatches, the mean of N/M · Σ_m equals the sum over the data set."""
    problem = noisy(reset(nn.Linear(FEATURES, CLASSES)), dataset()).to("cpu", torch.float64)
    parameters = problem.initial(KEY)
    assert problem.examples == 12
    assert problem.scale(batch_of(problem, 5)) == 12 / 5
    whole = problem.log_likelihood(
        at_mean(problem, parameters), batch_of(problem), parameters
    ).sum()
    parts = []
    for start in range(0, 12, 3):
        part = Batch(*(t[start : start + 3] for t in problem.data.train))
        values = problem.log_likelihood(at_mean(problem, parameters), part, parameters)
        parts.append(problem.scale(part) * values.sum())
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


@pytest.mark.parametrize("learned", [True, False])
def test_free_leaves_out_what_is_held_fixed(learned: bool) -> None:
    form = ThetaLogAlpha(learned=learned)
    problem = noisy(reset(nn.Linear(FEATURES, CLASSES)), dataset(), parameterization=form)
    parameters = problem.initial(KEY)
    free = problem.free(parameters)
    assert set(free) == {"0.theta", "0.bias"} | ({"0.log_alpha"} if learned else set())
    assert all(free[name] is parameters[name] for name in free)
    drawn = get("naive")(problem, parameters, batch_of(problem), stream(KEY))
    assert set(drawn.gradients) == set(free)


def test_to_casts_a_copy() -> None:
    with torch.random.fork_rng():
        problem = noisy(reset(Nested()), dataset("numbers"), likelihood=GaussianNoise())
    moved = problem.to("cpu", torch.float64)
    for tensor in (*moved.data.train, *moved.data.test, *moved.start.values()):
        assert tensor.dtype == torch.float64
    assert {v.dtype for v in moved.module.parameters()} == {torch.float64}
    assert moved.dtype == torch.float64
    assert problem.dtype == problem.data.train.inputs.dtype == torch.float32
    assert {v.dtype for v in problem.module.parameters()} == {torch.float32}
    parameters = moved.initial(KEY)
    value = moved.log_likelihood(at_mean(moved, parameters), batch_of(moved), parameters)
    assert value.dtype == torch.float64


def test_to_keeps_class_targets_whole_numbers() -> None:
    moved = noisy(nn.Linear(FEATURES, CLASSES), dataset()).to("cpu", torch.float64)
    assert moved.data.train.targets.dtype == torch.int64


@pytest.mark.parametrize("form", [MeanLogVariance(), ThetaLogAlpha()], ids=repr)
def test_both_precisions_start_at_the_same_point(form: MeanLogVariance | ThetaLogAlpha) -> None:
    module = nn.Sequential(nn.Linear(FEATURES, 5), nn.ReLU(), nn.Linear(5, CLASSES))
    problem = noisy(module, dataset(), parameterization=form, keep_weights=False)
    single, double = problem.initial(KEY), problem.to("cpu", torch.float64).initial(KEY)
    assert set(single) == set(double) == set(problem.start)
    for name, value in single.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, double[name].to(torch.float32)), name


def test_initial_weights_are_he_normal_and_addressed() -> None:
    module = nn.Sequential(
        nn.LayerNorm(FEATURES), nn.Linear(FEATURES, 3000), nn.Linear(3000, CLASSES)
    )
    problem = noisy(module, dataset(), keep_weights=False)
    one, same, other = problem.initial(KEY), problem.initial(KEY), problem.initial(KEY / 1)
    assert all(torch.equal(one[n], same[n]) for n in one)
    assert not torch.equal(one["1.mean"], other["1.mean"])
    assert torch.equal(one["1.bias"], torch.zeros(3000))
    assert torch.equal(one["0.weight"], torch.ones(FEATURES))
    # standard error of a variance from n normal numbers is √(2/n) of it; 5 of them
    n = one["1.mean"].numel()
    assert float(one["1.mean"].var()) == pytest.approx(2 / FEATURES, rel=5 * math.sqrt(2 / n))


def test_initial_with_kept_weights_is_the_module(module: nn.Module) -> None:
    problem = noisy(module, dataset(), keep_weights=True)
    parameters = problem.initial(KEY)
    linear = [m for m in module.modules() if isinstance(m, OPENED)]
    for layer, part in zip(problem.layers, linear, strict=True):
        assert torch.equal(parameters[f"{layer.name}.mean"], part.weight)
    parameters[f"{problem.layers[0].name}.mean"].add_(1)
    again = problem.initial(KEY / 1)[f"{problem.layers[0].name}.mean"]
    assert torch.equal(again, linear[0].weight)


def test_defaults() -> None:
    problem = noisy(nn.Linear(FEATURES, CLASSES), dataset())
    assert problem.likelihood == Categorical()
    assert problem.prior == GaussianPrior(1.0)
    assert problem.parameterization == MeanLogVariance()
    other = noisy(nn.Linear(FEATURES, CLASSES), dataset(), prior=LogUniformPrior())
    assert other.prior == LogUniformPrior()


def test_gaussian_noise_is_the_normal_log_density() -> None:
    outputs, targets = stream(KEY)("o", (5, 2)), stream(KEY)("t", (5, 2))
    ours = GaussianNoise(0.3)(outputs, targets)
    theirs = torch.distributions.Normal(outputs, math.sqrt(0.3)).log_prob(targets).sum(1)
    torch.testing.assert_close(ours, theirs)
