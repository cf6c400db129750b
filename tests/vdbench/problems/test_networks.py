"""The networks of built-in problems: their layers and sizes, what they compute, and what they refuse."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vdbench import datasets, problems
from vdbench.cli import catalogue
from vdbench.datasets import Dataset
from vdbench.errors import InputError
from vdbench.problems import networks
from vdbench.problems.from_module import noisy
from vdbench.problems.identity import fingerprint
from vdbench.problems.layers import Convolution
from vdbench.problems.problem import Problem


def parameters(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


def made(model: str, dataset: str, **options: Any) -> nn.Module:
    with torch.random.fork_rng():
        return networks.build(model, datasets.blank(dataset), options)


@pytest.mark.parametrize(
    ("model", "dataset", "options", "count"),
    [
        ("mlp", "digits", {}, 64 * 32 + 32 + 32 * 10 + 10),
        ("lenet-300-100", "mnist", {}, 266_610),
        ("lenet-5", "mnist", {}, 431_080),
        ("lenet-5", "fashion-mnist", {}, 431_080),
        ("kingma-cifar", "cifar10", {}, 595_914),
        ("kingma-cifar", "cifar10", {"pooling": "max"}, 595_914),
        ("kingma-cifar", "cifar10", {"size": 2}, 2_375_562),
        ("kingma-cifar", "digits", {"size": 0.125}, 1_882),
    ],
)
def test_sizes(model: str, dataset: str, options: dict[str, Any], count: int) -> None:
    """LeNet's are the published ones; the others are added up by hand from the docstring."""
    assert parameters(made(model, dataset, **options)) == count


@pytest.mark.parametrize("dataset", ["digits", "mnist", "cifar10"])
@pytest.mark.parametrize("model", networks.MODELS)
def test_every_network_maps_every_image_to_logits(model: str, dataset: str) -> None:
    data = datasets.blank(dataset)
    if (model, dataset) == ("lenet-5", "digits"):
        return  # too small: refused below
    outputs = made(model, dataset)(data.train.inputs)
    assert outputs.shape == (2, 10)
    assert all(m.bias is not None for m in made(model, dataset).modules() if hasattr(m, "bias"))


def test_rows_are_images_line_by_line() -> None:
    """The first convolution of a network on rows is that of the same network on images."""
    network = made("kingma-cifar", "mnist")
    rows = torch.arange(2.0 * 784).reshape(2, 784) / 784
    image = rows.reshape(2, 1, 28, 28)
    assert isinstance(network[1], nn.Conv2d)
    torch.testing.assert_close(network[:2](rows), network[1](image))


def test_order_of_the_layers() -> None:
    kinds = [type(part).__name__ for part in made("lenet-5", "mnist")]
    assert kinds == [
        "Unflatten", "Conv2d", "MaxPool2d", "Conv2d", "MaxPool2d", "Flatten", "Linear", "ReLU", "Linear",
    ]  # fmt: skip
    network = made("kingma-cifar", "cifar10")
    assert [type(part).__name__ for part in network] == [
        "Conv2d", "Softplus", "Conv2d", "Softplus", "Flatten", "Linear", "Softplus", "Linear", "Softplus", "Linear",
    ]  # fmt: skip
    assert {part.stride for part in network if isinstance(part, nn.Conv2d)} == {(2, 2)}
    pooled = [type(part).__name__ for part in made("kingma-cifar", "cifar10", pooling="max")]
    assert pooled[:3] == ["Conv2d", "Softplus", "MaxPool2d"]


@pytest.fixture(scope="module")
def small() -> Problem:
    return problems.classification("digits", model="kingma-cifar", size=0.125)


def test_a_problem_of_convolutions(small: Problem) -> None:
    assert small.name == "digits-kingma-cifar"
    assert [layer.name for layer in small.layers] == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    assert [isinstance(layer, Convolution) for layer in small.layers] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert small.shared == ("conv1", "conv2")


def test_convolutions_start_he_normal() -> None:
    """σ² = 2 / (channels in · kernel): the variance of n weights has a standard error of √(2/n) of it; 5 of them."""
    from vdbench.noise import Key

    problem = problems.classification("digits", model="kingma-cifar", size=1)
    start = problem.initial(Key(("tests", "networks")))
    for layer, fan_in in (("conv1", 25), ("conv2", 32 * 25)):
        weight: Tensor = start[f"{layer}.mean"]
        assert float(weight.var()) == pytest.approx(2 / fan_in, rel=5 * (2 / weight.numel()) ** 0.5)
        assert not start[f"{layer}.bias"].any()


def test_fingerprints_tell_networks_apart() -> None:
    options: list[dict[str, Any]] = [
        {},
        {"model": "lenet-300-100"},
        {"model": "kingma-cifar", "size": 0.125},
        {"model": "kingma-cifar", "size": 0.25},
        {"model": "kingma-cifar", "size": 0.125, "pooling": "max"},
    ]
    found = {fingerprint(problems.classification("digits", **o)) for o in options}
    assert len(found) == len(options)
    explicit = problems.classification("digits", model="mlp", widths=[32])
    assert fingerprint(explicit) in found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "lenet5"}, "model 'lenet5' is unknown. Did you mean 'lenet-5'?"),
        ({"model": 5}, "model '5' is unknown. Expected one of: kingma-cifar, lenet-300-100, lenet-5, mlp."),
        ({"model": "lenet-300-100", "widths": [3]}, "model 'lenet-300-100' takes no widths: it has no options."),
        ({"model": "kingma-cifar", "widths": [3]}, "model 'kingma-cifar' takes no widths: it has size, pooling."),
        ({"size": 2}, "model 'mlp' takes no size: it has widths."),
        ({"model": "kingma-cifar", "size": 0.01}, "size must be a number above 0 that makes 32 × size channels"),
        ({"model": "kingma-cifar", "size": True}, "whole, not True."),
        ({"model": "kingma-cifar", "size": float("inf")}, "whole, not inf."),
        ({"model": "kingma-cifar", "pooling": "mx"}, "pooling 'mx' is unknown. Did you mean 'max'?"),
        ({"model": "lenet-5"}, "the images of data set 'digits' have 8 × 8 pixels; the network needs at least"),
        (
            {"model": "kingma-cifar", "dataset": "breast-cancer"},
            "data set 'breast-cancer' has no images, which a convolution needs.",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=rf"^problem 'mine': .*{re.escape(message)}") as caught:
        problems.build("mine", "classification", options)
    assert "\n" not in str(caught.value)


def test_a_network_is_checked_without_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """On blank examples of the data set's own shape; nothing is fetched."""
    absent = datasets.info("digits").__class__(**{**vars(datasets.info("mnist")), "local": False})
    monkeypatch.setattr(datasets, "info", lambda name: absent)
    monkeypatch.setattr(datasets, "fetch", lambda name: pytest.fail(f"{name} is fetched"))
    for model in ("lenet-5", "kingma-cifar", "mlp"):
        assert (
            problems.check("mine", "classification", {"dataset": "mnist", "model": model}) is None
        )
    with pytest.raises(InputError, match="model 'lenet-5' takes no size"):
        problems.check(
            "mine", "classification", {"dataset": "mnist", "model": "lenet-5", "size": 2}
        )


def test_blank_data_has_the_shapes_of_the_real() -> None:
    for name in ("digits", "breast-cancer"):
        blank, real = datasets.blank(name), datasets.load(name)
        assert blank.train.inputs.shape[1:] == real.train.inputs.shape[1:]
        assert (blank.train.inputs.dtype, blank.classes) == (real.train.inputs.dtype, real.classes)
        assert blank.train.targets.dtype == real.train.targets.dtype
    assert datasets.blank("cifar10").train.inputs.shape == (2, 3, 32, 32)


def test_the_network_is_shown() -> None:
    shown = catalogue.text(catalogue.show("classification"))
    assert all(model in shown for model in networks.MODELS)


def test_lenet_5_is_the_network_written_out() -> None:
    """Caffe's: no non-linearity after a convolution but the pooling."""
    data: Dataset = datasets.blank("mnist")
    network = made("lenet-5", "mnist").double()
    problem = noisy(network, data)
    assert [layer.weight_shape for layer in problem.layers] == [
        (20, 1, 5, 5), (50, 20, 5, 5), (500, 800), (10, 500),
    ]  # fmt: skip
    x = torch.linspace(-1, 1, 784, dtype=torch.float64)[None]
    w = dict(network.named_parameters())
    h = x.reshape(1, 1, 28, 28)
    for layer in ("conv1", "conv2"):
        h = nn.functional.conv2d(h, w[f"{layer}.weight"], w[f"{layer}.bias"])
        h = h.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
    h = (w["fc1.weight"] @ h.flatten() + w["fc1.bias"]).clamp(min=0)
    torch.testing.assert_close(network(x)[0], w["fc2.weight"] @ h + w["fc2.bias"])
