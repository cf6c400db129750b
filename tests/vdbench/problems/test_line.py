"""Networks that are one line of modules give the same outputs and errors as in the general form."""

from __future__ import annotations

from types import MethodType

import pytest
import torch
from torch import Tensor, nn

from vdbench.datasets import Dataset, Split
from vdbench.errors import CellError
from vdbench.estimation.options import get
from vdbench.noise import Key, stream
from vdbench.problems.from_module import noisy
from vdbench.problems.layers import Layer
from vdbench.problems.problem import Batch, Problem

KEY = Key(("tests", "line"))


class Doubles(nn.Module):
    """The user's own module: it may do anything."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


NETWORKS = {
    "relu": lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)),
    "in place": lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)),
    "nested": lambda: nn.Sequential(
        nn.Sequential(nn.Linear(4, 6), nn.Tanh()), nn.Dropout(0.0), nn.Linear(6, 3, bias=False)
    ),
    "flattened": lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3)),
    "one layer": lambda: nn.Linear(4, 3),
}


def problem(module: nn.Module) -> Problem:
    noise = stream(KEY, dtype=torch.float64)
    x = noise("inputs", (12, 4))
    data = Dataset("line", Split(x, (x[:, 0] > 0).long()), Split(x[:2], (x[:2, 0] > 0).long()), 3)
    return noisy(module.double(), data, likelihood="classification", keep_weights=False)


def general(made: Problem) -> Problem:
    """The same problem, passed in the general form."""
    other = made.to("cpu", torch.float64)
    other.__dict__["_line"] = None
    return other


@pytest.mark.parametrize("name", NETWORKS)
def test_a_line_is_passed_as_in_the_general_form(name: str) -> None:
    made = problem(NETWORKS[name]())
    assert made._line is not None
    parameters = made.initial(KEY)
    for parameter in parameters.values():
        parameter += 0.1
    batch = Batch(*made.data.train)
    for estimator in map(get, ("naive", "local", "flipout")):
        draws = [
            estimator(form, parameters, batch, stream(KEY, dtype=torch.float64))
            for form in (made, general(made))
        ]
        assert torch.equal(draws[0].value, draws[1].value)
        for key, found in draws[0].gradients.items():
            assert torch.equal(found, draws[1].gradients[key]), key


def test_other_networks_are_passed_in_the_general_form() -> None:
    assert problem(nn.Sequential(nn.Linear(4, 6), Doubles(), nn.Linear(6, 3)))._line is None
    affine = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3))
    assert problem(affine)._line is None
    shared = nn.Linear(4, 4)
    assert problem(nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(4, 3)))._line is None


def test_a_hook_is_called() -> None:
    """Also where the line was walked before it was registered."""
    made = problem(NETWORKS["relu"]())
    batch = Batch(*made.data.train)
    get("local")(made, made.initial(KEY), batch, stream(KEY, dtype=torch.float64))
    assert made._line is not None
    assert not made._line.hooked
    seen: list[int] = []
    made.module[1].register_forward_hook(lambda *_: seen.append(1))  # type: ignore[index]
    made.module[2].register_forward_pre_hook(lambda *_: seen.append(2))  # type: ignore[index]
    assert made._line.hooked
    get("local")(made, made.initial(KEY), batch, stream(KEY, dtype=torch.float64))
    assert seen == [1, 2]


def test_other_rows_are_refused() -> None:
    """A network whose rows are not those of the examples is refused by name, as in the general form."""
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    made = problem(module)
    if not made.behaviour.folds:
        pytest.fail("the problem knows no rows, and this test shows nothing")
    merged = torch.zeros(12, 4, dtype=torch.float64)

    def sampler(layer: Layer, x: Tensor) -> Tensor:
        b = x @ torch.zeros(layer.weight_shape, dtype=torch.float64).T
        return b[:-1] if layer.name == made.layers[0].name else b

    messages = []
    for form in (made, general(made)):
        with pytest.raises(CellError, match="expected 1 rows an example") as caught:
            form.outputs(sampler, merged, form.start)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def clipped(at: str) -> nn.Sequential:
    """A network in which the forward of one module is replaced on the instance, where the examples show nothing."""
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    own = type(net[int(at)]).forward
    net[int(at)].forward = MethodType(lambda self, x: own(self, x).clamp(max=50.0), net[int(at)])
    return net


@pytest.mark.parametrize("at", ["0", "1"])
def test_a_forward_of_an_instance_is_followed(at: str) -> None:
    made = problem(clipped(at))
    assert made._line is None
    noise = stream(KEY / at, dtype=torch.float64)
    weights = {
        "0.weight": 100 * noise("a", (6, 4)), "0.bias": made.start["0.bias"],
        "2.weight": noise("b", (3, 6)), "2.bias": made.start["2.bias"],
    }  # fmt: skip
    x = made.data.train.inputs
    hidden = x @ weights["0.weight"].mT + weights["0.bias"]
    hidden = torch.relu(hidden.clamp(max=50.0) if at == "0" else hidden).clamp(max=50.0)
    assert float(hidden.max()) == 50.0  # the limit is reached
    want = hidden @ weights["2.weight"].mT + weights["2.bias"]

    def sampler(layer: Layer, rows: Tensor) -> Tensor:
        return layer.linear(rows, weights[f"{layer.name}.weight"])

    biases = {n: weights[n] for n in ("0.bias", "2.bias")}
    found = made.outputs(sampler, x, {**made.start, **biases})
    assert torch.allclose(found, want, rtol=1e-12)


def test_a_hook_on_all_modules_is_called() -> None:
    made = problem(NETWORKS["relu"]())
    x = made.data.train.inputs

    def sampler(layer: Layer, rows: Tensor) -> Tensor:
        return layer.linear(rows, made.posterior(layer, made.start).mean)

    before = made.outputs(sampler, x, made.start)
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, _, out: 2 * out if isinstance(module, nn.ReLU) else out
    )
    try:
        after = made.outputs(sampler, x, made.start)
    finally:
        handle.remove()
    assert not torch.allclose(before, after)
    assert torch.equal(before, made.outputs(sampler, x, made.start))


@pytest.mark.parametrize("name", ["another layer", "another name"])
def test_a_bias_of_two_modules_is_one_parameter(name: str) -> None:
    """Trained or measured as two, each would get a part of the gradient."""
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    net: nn.Module = nn.Sequential(nn.Linear(4, 6), first, nn.Tanh(), second, nn.Linear(6, 3))
    if name == "another layer":
        second.bias = first.bias
    else:

        class Adds(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net, self.more = net, first.bias

            def forward(self, x: Tensor) -> Tensor:
                return self.net[2:](self.net[:2](x) + self.more)  # type: ignore[index, no-any-return]

        net = Adds()
    made = problem(net)
    shared = [n for n, v in made.start.items() if v.shape == (6,)]
    assert len(shared) == (2 if name == "another layer" else 3), shared
    batch = Batch(*made.data.train)
    found = get("naive")(made, made.start, batch, stream(KEY, dtype=torch.float64))
    step = 1e-6
    (tied,) = [n for n in shared if torch.equal(made.start[n], first.bias.detach())]
    moved = {n: v.clone() for n, v in made.start.items()}
    moved[tied][0] += step
    other = get("naive")(made, moved, batch, stream(KEY, dtype=torch.float64))
    slope = (other.value - found.value) / step
    assert float(found.gradients[tied][0]) == pytest.approx(float(slope), rel=1e-4)
