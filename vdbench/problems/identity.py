"""What names a problem in the addresses of blocks and checkpoints: a hash of all that its figures depend on."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
from typing import Any

import torch
from torch import Tensor

from vdbench.datasets import Split
from vdbench.noise import Key, stream
from vdbench.problems.layers import Layer
from vdbench.problems.problem import Batch, Problem


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
        state.update(value.detach().contiguous().cpu().numpy().tobytes())
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
    few = Split(*(t[:64] for t in problem.data.train))
    probe = dataclasses.replace(problem, data=dataclasses.replace(problem.data, train=few)).to(
        "cpu", torch.float64
    )
    batch = Batch(*probe.data.train)
    key = Key(("vdbench", "fingerprint"))
    parameters, noise = probe.initial(key), stream(key, dtype=torch.float64)

    def sampler(layer: Layer, x: Tensor) -> Tensor:
        q = probe.posterior(layer, parameters)
        return layer.linear(x, q.weights(q.draw(noise, layer.name)))

    with torch.enable_grad():  # a network may take derivatives of its own
        values = probe.log_likelihood(sampler, batch, parameters)
        found = [*values.tolist(), float(probe.kl(parameters))]
    return " ".join(f"{value:.9g}" for value in found)


def _constants(problem: Problem) -> dict[str, Tensor]:
    """Tensors that are the same under every seed: buffers, and the parameters that are not drawn."""
    drawn = set() if problem.keep_weights else {layer.name for layer in problem.layers}
    kept = {n: v for n, v in problem.start.items() if problem.groups[n].layer not in drawn}
    frozen = {path: problem.module.get_parameter(path) for path in problem.behaviour.frozen}
    return {**dict(problem.module.named_buffers()), **frozen, **kept}


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
