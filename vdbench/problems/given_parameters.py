"""Parameters that were trained elsewhere, as the place where a problem starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vdbench.errors import InputError, nearest
from vdbench.problems import trained_elsewhere
from vdbench.problems.problem import Problem


def started(
    problem: Problem, parameters: Mapping[str, Tensor] | nn.Module, names: Any = None
) -> Problem:
    """The problem with these parameters in place of those it starts from.

    Args:
        problem: Any.
        parameters: By the problem's names; or ``layer.mean`` and ``layer.scale``, means and standard deviations; or a
            module of another library.
        names: What that library calls them, in the module or in its state dict.

    Raises:
        InputError: A name is unknown, or a value of another shape, not finite or no tensor.
    """
    if isinstance(parameters, nn.Module) or (names is not None and isinstance(parameters, Mapping)):
        parameters = trained_elsewhere.read(problem, parameters, names)
    if not isinstance(parameters, Mapping):
        raise InputError(
            f"problem '{problem.name}': parameters must be a mapping of names to tensors, or a module, not "
            f"{type(parameters).__name__}."
        )
    given = {str(key): _tensor(problem, str(key), value) for key, value in parameters.items()}
    for layer in problem.layers:
        scale = given.pop(f"{layer.name}.scale", None)
        if scale is None:
            continue
        _refuse_scale(problem, layer.name, scale, given)
        roles = problem.parameterization.roles
        mean = given.get(f"{layer.name}.mean", given.get(f"{layer.name}.theta"))
        if "log_variance" in roles:
            given[f"{layer.name}.log_variance"] = 2 * scale.log()
        elif "log_alpha" in roles and mean is not None:
            given[f"{layer.name}.log_alpha"] = 2 * (scale.log() - mean.abs().log())
        else:
            raise InputError(
                f"problem '{problem.name}': parameters: '{layer.name}.scale' cannot be turned into coordinates of the "
                f"posterior '{problem.parameterization.name}'; expected {', '.join(roles)}."
            )
        if "theta" in roles and f"{layer.name}.mean" in given:
            given[f"{layer.name}.theta"] = given.pop(f"{layer.name}.mean")
    start = dict(problem.start)
    for key, value in given.items():
        if key not in start:
            raise InputError(
                f"problem '{problem.name}': parameters: there is no parameter '{key}'.{nearest(key, start)}"
            )
        if tuple(value.shape) != tuple(start[key].shape):
            raise InputError(
                f"problem '{problem.name}': parameters: '{key}' has shape {tuple(value.shape)}; expected "
                f"{tuple(start[key].shape)}."
            )
        if not bool(torch.isfinite(value).all()):
            raise InputError(
                f"problem '{problem.name}': parameters: '{key}' has a number that is not finite."
            )
        start[key] = value.detach().to(start[key]).clone()
    return replace(problem, start=start)


def _refuse_scale(problem: Problem, layer: str, scale: Tensor, given: Mapping[str, Tensor]) -> None:
    """Refuse standard deviations that are none, and those given beside a coordinate that says the same.

    Raises:
        InputError: They are.
    """
    where = f"problem '{problem.name}': parameters: '{layer}.scale'"
    if bool((scale <= 0).any()):
        raise InputError(
            f"{where} has {float(scale.min()):g}; expected standard deviations, which are positive (names= has a "
            "transform for parameters of another library)."
        )
    twice = [k for k in ("log_variance", "log_alpha") if f"{layer}.{k}" in given]
    if twice:
        raise InputError(
            f"{where} is given and so is '{layer}.{twice[0]}', which says the same; expected one of them."
        )


def _tensor(problem: Problem, key: str, value: Any) -> Tensor:
    try:
        found = torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"problem '{problem.name}': parameters: '{key}' is no tensor: {error}"
        ) from error
    layer = next((a for a in problem.layers if key.startswith(f"{a.name}.")), None)
    if (
        found.dim() == 0
        and layer is not None
        and key.rpartition(".")[2] in ("scale", "mean", "theta")
    ):
        return found.expand(layer.weight_shape)
    return found
