"""Problems by name, and the user's own as ``package.module:factory``."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from vdbench import datasets
from vdbench.datasets import Dataset, Split
from vdbench.errors import InputError, nearest
from vdbench.noise import Key, stream
from vdbench.problems import gaussian, networks, priors, toys
from vdbench.problems.layers import Layer
from vdbench.problems.problem import Batch, Problem, noisy

_stand_in: ContextVar[Callable[[str], Dataset] | None] = ContextVar("stand_in", default=None)
"""Gives data sets in place of `datasets.load`, for a check that fetches nothing."""


def classification(
    dataset: str = "digits",
    widths: list[int] | tuple[int, ...] | None = None,
    parameterization: object = "mean-log_variance",
    prior: object = "gaussian",
    model: str = "mlp",
    size: float | None = None,
    pooling: str | None = None,
) -> Problem:
    """A network with noisy dense and convolutional layers and softmax outputs.

    Args:
        dataset: Name of a data set.
        widths: Units of the hidden layers of ``mlp``; none for a linear classifier; default one layer of 32.
        parameterization: The posterior: ``mean-log_variance``, ``theta-log_alpha``, ``binary-dropout``,
            ``learned-binary`` or ``point``, or a mapping with that under ``kind`` and options beside it: ``sigma``;
            ``alpha``, ``learned``, ``per`` and ``sharing``; ``rate``, ``scaling`` and ``sharing``; ``keep`` and
            ``per``; none.
        prior: ``gaussian``, ``log-uniform``, ``bernoulli`` or ``none``, or a mapping with that under ``kind`` and
            options beside it: ``variance``; ``form``; ``keep``; none.
        model: ``mlp`` (images are flattened), ``lenet-300-100``, ``lenet-5`` or ``kingma-cifar``; see
            `vdbench.problems.networks`.
        size: Of ``kingma-cifar``: 32 × size and 64 × size channels; default 1.
        pooling: Of ``kingma-cifar``: ``stride`` (the default) or ``max``.

    Raises:
        InputError: A value is not one there is.
    """
    if not isinstance(dataset, str):
        raise InputError(f"dataset must be a name, not {dataset!r}.{nearest('', datasets.names())}")
    coordinates, term = gaussian.from_spec(parameterization), priors.from_spec(prior)
    data = (_stand_in.get() or datasets.load)(dataset)
    options = {"widths": widths, "size": size, "pooling": pooling}
    with torch.random.fork_rng(devices=[]):  # torch draws weights here that are never used
        body = networks.build(model, data, options)
    return noisy(
        body,
        data,
        name=f"{dataset}-{_named(model, body)}",
        prior=term,
        parameterization=coordinates,
        keep_weights=False,
    )


def _named(model: str, body: nn.Module) -> str:
    """The model, or the sizes of one that is made of dense layers alone."""
    if model != "mlp":
        return model
    dense = [part for part in body.modules() if isinstance(part, nn.Linear)]
    return "-".join(str(size) for size in (dense[0].in_features, *(p.out_features for p in dense)))


FACTORIES: dict[str, Callable[..., Problem]] = {
    "classification": classification,
    "logistic-regression": toys.logistic_regression,
    "toy-cost": toys.toy_cost,
}
"""Built-in problems by name."""


def build(name: str, factory: str, options: Mapping[str, Any]) -> Problem:
    """Build a problem; a factory runs under a forked and seeded global generator.

    Args:
        name: Label in reports.
        factory: A name in `FACTORIES`, or ``package.module:factory`` of the user's own, looked up from the
            current folder too.
        options: Keyword arguments of the factory.

    Raises:
        InputError: The factory cannot be found, refuses its options, fails, or returns no `Problem`.
    """
    make = FACTORIES.get(factory) or _own(name, factory)
    known = list(inspect.signature(make).parameters.values())
    if all(p.kind is not p.VAR_KEYWORD for p in known):
        for option in options:
            if option not in [p.name for p in known]:
                hint = nearest(option, [p.name for p in known]) if known else " It has none."
                raise InputError(f"problem '{name}': {factory} has no option '{option}'.{hint}")
    try:
        with torch.random.fork_rng(devices=[]):
            # weights that the factory leaves to torch to draw are the same in every process
            torch.default_generator.manual_seed(0)
            problem = make(**options)
    except InputError as error:
        raise InputError(f"problem '{name}': {error}") from error
    except Exception as error:
        if factory in FACTORIES:
            raise
        raise InputError(
            f"problem '{name}': {factory} failed with {type(error).__name__}: {error}"
        ) from error
    if not isinstance(problem, Problem):
        raise InputError(
            f"problem '{name}': {factory} returned {type(problem).__name__}, expected the vdbench.Problem "
            "that vdbench.noisy(module, data) makes."
        )
    return dataclasses.replace(problem, name=name)


def check(name: str, factory: str, options: Mapping[str, Any]) -> Problem | None:
    """Refuse what `build` would refuse, without fetching a data set.

    Returns:
        The problem; None where its data set is not on this machine.

    Raises:
        InputError: As `build`.
    """
    if factory == "classification":
        dataset = options.get("dataset", "digits")
        if isinstance(dataset, str) and not datasets.info(dataset).local:
            token = _stand_in.set(datasets.blank)
            try:
                build(name, factory, options)
            finally:
                _stand_in.reset(token)
            return None
    return build(name, factory, options)


def _own(name: str, factory: str) -> Callable[..., Problem]:
    module, colon, function = factory.partition(":")
    if not colon:
        raise InputError(
            f"problem '{name}': factory '{factory}' is unknown.{nearest(factory, FACTORIES)} "
            "One of your own is written package.module:factory."
        )
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that a folder of the user's hides no package
    try:
        home = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(f"problem '{name}': there is no module '{error.name}'.") from error
    except Exception as error:
        raise InputError(
            f"problem '{name}': importing '{module}' failed with {type(error).__name__}: {error}"
        ) from error
    found = getattr(home, function, None)
    if found is None:
        raise InputError(f"problem '{name}': module '{module}' has no '{function}'.")
    if not callable(found):
        raise InputError(f"problem '{name}': {factory} is no function.")
    make: Callable[..., Problem] = found
    return make


def fingerprint(problem: Problem) -> str:
    """A hash of all that a problem's figures depend on: data, network, coordinates, likelihood, prior.

    Blocks and checkpoints are named by it, so that a changed problem never meets its old figures.
    """
    state = hashlib.blake2b(digest_size=16)
    for split in (problem.data.train, problem.data.test):
        for tensor in split:
            state.update(str(tuple(tensor.shape)).encode())
            state.update(tensor.contiguous().cpu().numpy().tobytes())
    for name, value in sorted(_constants(problem).items()):
        state.update(name.encode())
        state.update(value.contiguous().cpu().numpy().tobytes())
    for text in (problem.module, problem.layers, problem.parameterization):
        state.update(repr(text).encode())
    kinds = dict.fromkeys(type(part) for part in problem.module.modules())
    for code in (problem.likelihood, problem.prior, *kinds):
        state.update(_describe(code).encode())
    state.update(f"{problem.keep_weights}".encode())
    state.update(_behaviour(problem).encode())
    return state.hexdigest()


def _behaviour(problem: Problem) -> str:
    """What the problem computes at fixed weights on a few examples, to nine digits.

    It sees what no description does: a constant that the user's code takes from elsewhere, a closure, an
    attribute of a module.
    """
    batch = Batch(
        *(t[:64].double() if t.is_floating_point() else t[:64] for t in problem.data.train)
    )
    few = dataclasses.replace(problem.data, train=Split(*batch))
    probe = dataclasses.replace(
        problem,
        module=copy.deepcopy(problem.module).double(),
        data=few,
        start={name: value.double() for name, value in problem.start.items()},
    )
    key = Key(("vdbench", "fingerprint"))
    parameters, noise = probe.initial(key), stream(key, dtype=torch.float64)

    def sampler(layer: Layer, x: Tensor) -> Tensor:
        q = probe.posterior(layer, parameters)
        return layer.linear(x, q.weights(q.draw(noise, layer.name)))

    with torch.no_grad():
        values = probe.log_likelihood(sampler, batch, parameters)
        found = [*values.tolist(), float(probe.kl(parameters))]
    return " ".join(f"{value:.9g}" for value in found)


def _constants(problem: Problem) -> dict[str, Tensor]:
    """Tensors that are the same under every seed: buffers, and the parameters that are not drawn."""
    drawn = set() if problem.keep_weights else {layer.name for layer in problem.layers}
    kept = {n: v for n, v in problem.start.items() if problem.groups[n].layer not in drawn}
    return {**dict(problem.module.named_buffers()), **kept}


def _describe(part: object) -> str:
    """Text that is the same in every process: the values that a part holds, and the source of its code."""
    if inspect.isclass(part) or inspect.isfunction(part):
        return _source(part)
    if dataclasses.is_dataclass(part):
        return repr(part) + _source(type(part))
    held = json.dumps(getattr(part, "__dict__", {}), sort_keys=True, default=_plain)
    return held + _source(type(part))


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else type(value).__qualname__


STABLE_NAMES = {
    "Bernoulli": "vdbench.likelihoods.Bernoulli",
    "BernoulliPrior": "vdbench.bernoulli.BernoulliPrior",
    "Categorical": "vdbench.likelihoods.Categorical",
    "Cost": "vdbench.toys.Cost",
    "GaussianNoise": "vdbench.likelihoods.GaussianNoise",
    "GaussianPrior": "vdbench.priors.GaussianPrior",
    "LogUniformPrior": "vdbench.priors.LogUniformPrior",
    "NoPrior": "vdbench.priors.NoPrior",
    "NoisyModule": "vdbench.layers.NoisyModule",
}
"""What fingerprints call parts of vdbench, wherever their code is: as version 0.1.0 did, which had no other names."""


def _source(code: Any) -> str:
    """Source of the user's code; a name for torch's and our own, whose versions are recorded."""
    if code.__module__.startswith("torch."):
        return f"{code.__module__}.{code.__qualname__}"
    if code.__module__.startswith("vdbench."):
        return STABLE_NAMES.get(code.__qualname__, f"vdbench.{code.__qualname__}")
    name = f"{code.__module__}.{code.__qualname__}"
    try:
        return inspect.getsource(code)
    except (OSError, TypeError):
        return name
