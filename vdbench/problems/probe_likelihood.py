"""Whether a likelihood fits a network: one value an example, of logits where it takes logits, and no loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vdbench.errors import InputError
from vdbench.problems.likelihoods import Checks, Likelihood, choose
from vdbench.problems.probe import finite, reason
from vdbench.problems.problem import Problem, moved


class _NoTensor(TypeError):
    """A likelihood returns something else than a tensor."""


class Computed(NamedTuple):
    """A likelihood and the type it computes in."""

    of: Likelihood
    dtype: torch.dtype

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Log-likelihoods in float64, (M,)."""
        targets = targets.to(self.dtype) if targets.is_floating_point() else targets
        found = self.of(outputs.to(self.dtype), targets)
        if not isinstance(found, Tensor):
            raise _NoTensor(
                f"the likelihood returns a {type(found).__name__}; expected a tensor (M,), the log-likelihood of each "
                "example."
            )
        return found.double()


def chosen(
    problem: Problem,
    likelihood: Likelihood | Callable[[Tensor, Tensor], Tensor] | str | None,
    shape: tuple[int, ...],
) -> tuple[Likelihood, str]:
    """The likelihood, as `vdbench.problems.likelihoods.choose` chooses it, and a sentence that states it.

    Raises:
        InputError: It does not fit the targets, or has parameters to train.
    """
    try:
        found, said = choose(likelihood, problem.data, shape)
    except InputError as error:
        raise InputError(f"problem '{problem.name}': {error}") from error
    if isinstance(found, nn.Module) and any(p.requires_grad for p in found.parameters()):
        _refuse_parameters(
            problem.name, [n for n, p in found.named_parameters() if p.requires_grad]
        )
    return found, said


def _refuse_parameters(name: str, parameters: list[str]) -> None:
    named = ", ".join(parameters) or "a tensor that requires a gradient"
    raise InputError(
        f"problem '{name}': the likelihood has parameters ({named}), which would stay as they are; make them part of "
        "the module, as outputs, or freeze them."
    )


def computed(
    problem: Problem, likelihood: Likelihood, outputs: Tensor, targets: Tensor
) -> Computed:
    """The likelihood in the type it computes in.

    Args:
        problem: For its name.
        likelihood: Of the targets.
        outputs: Of a few examples, detached.
        targets: Of the same examples.

    Raises:
        InputError: It fails, gives no finite value an example, writes its targets, or has a gradient of its own.
    """
    name = problem.name
    for dtype in (torch.float64, torch.float32):
        tried = Computed(moved(likelihood, "cpu", dtype), dtype)
        given = targets.clone()
        try:
            value = tried.value(outputs, given)
        except InputError:
            raise
        except _NoTensor as error:
            raise InputError(f"problem '{name}': {error}") from error
        except Exception as error:
            if dtype == torch.float64:
                continue
            raise InputError(
                f"problem '{name}': the module and its likelihood do not fit: outputs of shape "
                f"{tuple(outputs.shape)} and targets of shape {tuple(targets.shape)}: "
                f"{reason(error)}"
            ) from error
        if value.shape != outputs.shape[:1]:
            more = value.dim() > 1 and len(value) == len(outputs)
            fix = " (sum over all but the first dimension: .flatten(1).sum(1))" if more else ""
            raise InputError(
                f"problem '{name}': the log-likelihood of {len(outputs)} examples has shape "
                f"{tuple(value.shape)}; expected one value an example{fix}."
            )
        if not torch.equal(torch.nan_to_num(given), torch.nan_to_num(targets)):
            raise InputError(
                f"problem '{name}': the likelihood writes the targets that it is given."
            )
        if value.requires_grad:
            _refuse_parameters(name, [])
        finite(name, "the log-likelihoods", value)
        return tried
    raise AssertionError


def refuse_loss(name: str, likelihood: Computed, outputs: Tensor, targets: Tensor) -> None:
    """Refuse a function of the user's that is minimised: positive, and lower where the outputs fit the targets better.

    A function that does not depend on the targets, such as a cost of the outputs alone, may have any sign and slope.

    Raises:
        InputError: It is such a one for every example.
    """
    if isinstance(likelihood.of, Checks):
        return
    step = towards(outputs, targets)
    if step is None:
        return
    try:
        value, better = (likelihood.value(o, targets) for o in (outputs, outputs + step))
        if torch.equal(value, likelihood.value(outputs, targets.roll(1, 0))):
            return
    except Exception:
        return  # it accepts no outputs but the network's own
    if bool((value > 0).all()) and bool((better < value).all()):
        raise InputError(
            f"problem '{name}': the likelihood is positive and falls where the outputs fit the targets better, as a "
            "loss does; expected a log-likelihood of each example, such as minus the loss."
        )


def towards(outputs: Tensor, targets: Tensor) -> Tensor | None:
    """A change of the outputs by which they fit better, of classes, of 0 and 1, or of numbers; None where not known."""
    if targets.shape != outputs.shape and targets.numel() == outputs.numel():
        targets = targets.reshape(outputs.shape)
    if targets.shape == outputs.shape:
        if bool(((targets == 0) | (targets == 1)).all()):
            return (2 * targets - 1).to(outputs)
        return 0.5 * (targets.to(outputs) - outputs)
    for axis in (1, outputs.dim() - 1):
        rest = (*outputs.shape[:axis], *outputs.shape[axis + 1 :])
        count = outputs.shape[axis] if axis else 0
        fits = not targets.is_floating_point() and tuple(targets.shape) == rest
        if fits and bool(((targets >= 0) & (targets < count)).all()):
            return F.one_hot(targets.long(), count).movedim(-1, axis).to(outputs)
    return None
