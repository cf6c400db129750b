"""What a network does, asked before anything is measured: a few forward passes, and one sentence for each misfit.

The questions are about behaviour, not about types. They are asked of the module as it came, at its own weights and at
weights moved a little (a layer of zeros hides what lies behind it), and then of the problem made from it:

1. Is the output one finite tensor with a row an example, and is a second pass equal? Is no random number drawn, no
   buffer and no target written?
2. Does an example's log-likelihood depend on that example alone?
3. Does the problem compute at the mean weights what the module computes?
4. Which rows of each layer's input belong to which example, and how often is the layer called?
5. Can draws be taken together, and can an example pass alone?
"""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.overrides import TorchFunctionMode

from vdbench.errors import InputError
from vdbench.noise import Key, stream
from vdbench.problems.layers import Layer, OutsideUse, WholeWeight
from vdbench.problems.likelihoods import Likelihood, choose
from vdbench.problems.places import PLAIN, Fold, Use, find
from vdbench.problems.problem import Batch, Problem
from vdbench.problems.problem import moved as moved_to

MANY, FEW = 5, 3
"""The two numbers of examples that a network is tried on."""

ATTEMPTS = 3
"""At how many weights rows are looked for that change with no example, since units that are off hide what they get."""

NODES = (8, 96, 400)
"""Points of a line of weights at which the gradient is taken; more, where few do not settle it."""

TOLERANCE = 0.02
"""Share by which the change along that line may differ from the gradient's integral."""

KEY = Key(("vdbench", "probe"))

CLOSE = {torch.float64: 1e-8, torch.float32: 1e-4}
"""Numbers that differ by no more than this share of their size are the same; other types as the loosest."""


class Seen(NamedTuple):
    """What the module itself does on a few examples.

    Attributes:
        precision: The only type it computes in, or None.
        of_likelihood: The same of the likelihood.
        writes_inputs: Whether it writes its input.
        alone: Whether an example passes alone.
        attention: Whether it calls fused attention.
        likelihood: Of the targets.
        said: Which likelihood that is, and why.
    """

    precision: torch.dtype | None
    of_likelihood: torch.dtype | None
    writes_inputs: bool
    alone: bool
    attention: bool
    likelihood: Likelihood
    said: str


def examples(problem: Problem, count: int) -> Batch:
    """The first examples of the training split, over again where there are fewer, in float64."""
    rows = torch.arange(count) % problem.examples
    return Batch(*(_double(part[rows].cpu()) for part in problem.data.train))


def behaviour_of(
    module: nn.Module,
    problem: Problem,
    likelihood: Likelihood | Callable[[Tensor, Tensor], Tensor] | str | None,
) -> Seen:
    """Ask the module as it came.

    Args:
        module: The user's, of which a copy is tried.
        problem: Made from it; its data and name.
        likelihood: As `vdbench.problems.likelihoods.choose` takes it.

    Raises:
        InputError: It is no network whose examples are independent of one another, or does not fit the data.
    """
    batch = examples(problem, MANY)
    own = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    precision, network = _precision(module, problem, batch, own)
    asked = _Asked(problem.name, network, precision)
    out = asked.outputs(batch.inputs)
    with _steady(problem.name, network, module):
        again = asked.outputs(batch.inputs)
    if not torch.equal(torch.nan_to_num(out), torch.nan_to_num(again)):
        raise InputError(
            f"problem '{problem.name}': a second forward pass on the same inputs gives other outputs: the module has "
            "noise or memory of its own; call module.eval() first, or remove it."
        )
    _finite(problem.name, "the outputs of the module", out)
    chosen, said = _chosen(problem, likelihood, tuple(out.shape))
    computed = _likelihood(problem, chosen, out.double(), batch.targets)
    value = computed.value(out.double(), batch.targets)
    _independent(problem, asked, computed, batch, out, value, module)
    few = asked.outputs(batch.inputs[:FEW])
    if not _same(few, out[:FEW], precision):
        raise InputError(
            f"problem '{problem.name}': the outputs of {FEW} examples differ from those of the same examples among "
            f"{MANY}, so an example's log-likelihood depends on the minibatch; expected a network whose examples do "
            f"not interact.{_hint(module)}"
        )
    if not _same(computed.value(few.double(), batch.targets[:FEW]), value[:FEW], precision):
        raise InputError(
            f"problem '{problem.name}': the log-likelihoods of {FEW} examples differ from those of the same examples "
            f"among {MANY}; expected a likelihood of each example alone, not divided by their number."
        )
    return Seen(
        precision if precision != torch.float64 else None,
        computed.dtype if computed.dtype != torch.float64 else None,
        asked.writes,
        _alone(asked, batch.inputs, out, precision),
        _attends(network, asked, batch.inputs),
        chosen,
        said,
    )


class _Asked:
    """Runs a network on copies of its inputs, and notes whether it writes them."""

    def __init__(self, name: str, network: nn.Module, precision: torch.dtype) -> None:
        self.name, self.network, self.precision = name, network, precision
        self.writes = False

    def outputs(self, inputs: Tensor) -> Tensor:
        given = inputs.to(self.precision) if inputs.is_floating_point() else inputs.clone()
        given = given.clone() if given is inputs else given
        before = given.clone()
        with torch.no_grad(), _fast_paths_off(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self.network(given)
        if not isinstance(found, Tensor):
            raise InputError(
                f"problem '{self.name}': the module returns a {type(found).__name__}; expected one tensor with a row "
                "for each example: wrap the module in one that returns the outputs alone."
            )
        if found.dim() == 0 or found.shape[0] != inputs.shape[0]:
            raise InputError(
                f"problem '{self.name}': the module returns outputs of shape {tuple(found.shape)} for "
                f"{inputs.shape[0]} examples; expected a first dimension of {inputs.shape[0]}."
            )
        self.writes |= not torch.equal(torch.nan_to_num(given), torch.nan_to_num(before))
        return found


def _precision(
    module: nn.Module, problem: Problem, batch: Batch, own: torch.dtype
) -> tuple[torch.dtype, nn.Module]:
    """The type that the network computes in when it is asked for float64, and a copy of it in that type."""
    network = copy.deepcopy(module).double()
    try:
        found = _Asked(problem.name, network, torch.float64).outputs(batch.inputs)
    except InputError:
        raise
    except Exception:
        found = None
    if found is not None and found.dtype == torch.float64:
        return torch.float64, network
    native = copy.deepcopy(module).to(own)
    try:
        out = _Asked(problem.name, native, own).outputs(batch.inputs)
    except InputError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"problem '{problem.name}': the module and its likelihood do not fit inputs of shape "
            f"(M, {', '.join(map(str, batch.inputs.shape[1:]))}): {type(error).__name__}: {reason}{_hint(module)}"
        ) from error
    if not out.is_floating_point():
        raise InputError(
            f"problem '{problem.name}': the module returns outputs of type {out.dtype}; expected floating-point ones."
        )
    # it follows its parameters' type, up to casts of its own
    return (torch.float64, network) if found is not None else (own, native)


class _Likelihood(NamedTuple):
    """A likelihood and the type it computes in."""

    of: Likelihood
    dtype: torch.dtype

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        targets = targets.to(self.dtype) if targets.is_floating_point() else targets
        return self.of(outputs.to(self.dtype), targets).double()


def _chosen(
    problem: Problem,
    likelihood: Likelihood | Callable[[Tensor, Tensor], Tensor] | str | None,
    shape: tuple[int, ...],
) -> tuple[Likelihood, str]:
    try:
        return choose(likelihood, problem.data, shape)
    except InputError as error:
        raise InputError(f"problem '{problem.name}': {error}") from error


def _likelihood(
    problem: Problem, likelihood: Likelihood, outputs: Tensor, targets: Tensor
) -> _Likelihood:
    name = problem.name
    for dtype in (torch.float64, torch.float32):
        tried = _Likelihood(moved_to(likelihood, "cpu", dtype), dtype)
        given = targets.clone()
        try:
            value = tried.value(outputs, given)
        except InputError:
            raise
        except Exception as error:
            if dtype == torch.float64:
                continue
            reason = (str(error).splitlines() or [""])[0]
            raise InputError(
                f"problem '{name}': the module and its likelihood do not fit: outputs of shape "
                f"{tuple(outputs.shape)} and targets of shape {tuple(targets.shape)}: "
                f"{type(error).__name__}: {reason}"
            ) from error
        if value.shape != outputs.shape[:1]:
            raise InputError(
                f"problem '{name}': the log-likelihood of {len(outputs)} examples has shape "
                f"{tuple(value.shape)}; expected one value an example."
            )
        if not torch.equal(torch.nan_to_num(given), torch.nan_to_num(targets)):
            raise InputError(
                f"problem '{name}': the likelihood writes the targets that it is given."
            )
        _finite(name, "the log-likelihoods", value)
        return tried
    raise AssertionError


def _independent(
    problem: Problem,
    asked: _Asked,
    computed: _Likelihood,
    batch: Batch,
    out_of_all: Tensor,
    value: Tensor,
    module: nn.Module,
) -> None:
    """Refuse a network in which an example's log-likelihood changes with another example."""
    for j, inputs in enumerate(changed(batch.inputs)):
        out = asked.outputs(inputs)
        found = computed.value(out.double(), batch.targets)
        for i in range(MANY):
            if i != j and not _same(found[i], value[i], asked.precision):
                raise InputError(
                    f"problem '{problem.name}': the log-likelihood of an example changes when another example of its "
                    f"minibatch does, so it is not a sum over examples; expected a network whose examples do not "
                    f"interact.{_hint(module)}"
                )
    for j, targets in enumerate(changed(batch.targets)):
        found = computed.value(out_of_all.double(), targets)
        if any(i != j and not _same(found[i], value[i], asked.precision) for i in range(MANY)):
            raise InputError(
                f"problem '{problem.name}': the log-likelihood of an example changes when the target of another one "
                "does; expected a likelihood of each example alone."
            )


def changed(inputs: Tensor) -> Iterator[Tensor]:
    """The inputs with one example exchanged for another, for each example in turn."""
    for j in range(len(inputs)):
        other = inputs[(j + 1) % len(inputs)]
        if torch.equal(other, inputs[j]):
            others = [row for row in inputs if not torch.equal(row, inputs[j])]
            if others:
                other = others[0]
            elif inputs.is_floating_point():
                other = other + 0.5 * stream(KEY / "input", dtype=inputs.dtype)("x", other.shape)
        moved = inputs.clone()
        moved[j] = other
        yield moved


def agreement(module: nn.Module, problem: Problem, seen: Seen) -> str | None:
    """Whether the problem computes what the module does, at its own weights and at weights moved a little.

    Args:
        module: The user's.
        problem: Made from it.
        seen: What the module does.

    Returns:
        None if it does, else the name of a layer whose weight is read elsewhere, or an empty string.
    """
    precision = seen.precision or torch.float64
    for amount in (0.0, 0.3):
        network, at = _moved_weights(module, problem, amount, precision)
        batch = examples(problem, MANY)
        want = _Asked(problem.name, network, precision).outputs(batch.inputs).double()
        try:
            found = problem_outputs(problem, at, batch.inputs)
        except OutsideUse as error:
            return error.name
        if not _same(found, want, precision):
            return ""
    return None


def problem_outputs(
    problem: Problem,
    at: dict[str, Tensor],
    inputs: Tensor,
    note: Callable[[Layer, Tensor, Tensor], None] = lambda layer, x, b: None,
) -> Tensor:
    """Outputs at given weights of the noisy layers; ``note`` is told each layer's input and pre-activation."""

    def sampler(layer: Layer, x: Tensor) -> Tensor:
        b = layer.linear(x, at[layer.name])
        note(layer, x, b)
        return b

    with torch.no_grad():
        return problem.outputs(sampler, inputs, {n: v for n, v in at.items() if n in problem.start})


def _moved_weights(
    module: nn.Module, problem: Problem, amount: float, precision: torch.dtype, attempt: int = 0
) -> tuple[nn.Module, dict[str, Tensor]]:
    """A copy of the module with weights moved by noise of ``amount``/√fan-in; and these, by layer, with all else."""
    network = copy.deepcopy(module).to(precision)
    noise = stream(KEY / "weights" / attempt, dtype=torch.float64)
    at: dict[str, Tensor] = {name: value.double() for name, value in problem.start.items()}
    layers = {getattr(a, "path", "") or f"{a.name}.weight": a for a in problem.layers}
    with torch.no_grad():
        for path, value in network.named_parameters():
            if not value.requires_grad or not value.is_floating_point():
                continue
            spread = amount / max(1, value[0].numel() if value.dim() > 1 else 1) ** 0.5
            moved = value.double() + spread * noise(path, value.shape)
            layer = layers.get(path)
            if isinstance(layer, WholeWeight) and layer.zero_row is not None:
                moved[layer.zero_row] = 0
            at[path if layer is None else layer.name] = moved
            value.copy_(moved.to(precision))
    return network, at


def rows(
    problem: Problem, module: nn.Module, seen: Seen
) -> tuple[dict[str, tuple[Fold, ...]], dict[str, Use], dict[str, str]]:
    """Where the example's axis is at each call of each layer whose pre-activations can be sampled.

    Returns:
        The folds and uses by layer, and the layers whose rows follow no example, with the reason.
    """
    observed: dict[str, list[Pair]] = {}
    for attempt in range(ATTEMPTS):
        _, at = _moved_weights(module, problem, 0.3, seen.precision or torch.float64, attempt)
        found, sizes, whole = _observed(problem, at, seen)
        for name, calls in found.items():
            before = observed.get(name, calls)
            observed[name] = [
                [(m, a | b) for (m, a), (_, b) in zip(then, now, strict=True)]
                for then, now in zip(before, calls, strict=True)
            ]
        still = [pair for calls in observed.values() for pair in calls if not _any(pair)]
        if not still:
            break
    folds: dict[str, tuple[Fold, ...]] = {}
    uses: dict[str, Use] = {}
    for layer in problem.layers:
        name = layer.name
        if name in whole or name not in observed:
            continue
        fold_of = [find(pair) if _any(pair) else _by_shape(pair) for pair in observed[name]]
        if any(f is None for f in fold_of):
            whole[name] = "the rows that it is given do not follow the examples"
            continue
        folds[name] = tuple(f for f in fold_of if f is not None)
        inputs_of, outputs_of = (sum(part) for part in zip(*sizes[name], strict=True))
        uses[name] = Use(inputs_of, outputs_of, outputs_of // layer.outputs, len(fold_of))
    return folds, uses, whole


Pair = list[tuple[int, Tensor]]
"""For both numbers of examples: that number, and which rows of a layer's input change with which example."""


def _any(pair: Pair) -> bool:
    return any(bool(changed.any()) for _, changed in pair)


def _by_shape(pair: Pair) -> Fold | None:
    """Of rows that never change, such as those behind a layer of zeros: what their number says."""
    return (
        PLAIN if all(changed.dim() > 1 and changed.shape[1] == m for m, changed in pair) else None
    )


def _observed(
    problem: Problem, at: dict[str, Tensor], seen: Seen
) -> tuple[dict[str, list[Pair]], dict[str, list[tuple[int, int]]], dict[str, str]]:
    """Which rows change with which example, at each call of each layer; numbers an example; and layers that vary."""
    precision = seen.precision or torch.float64
    layers = {layer.name: layer for layer in problem.layers}
    parts: dict[str, list[Pair]] = {}
    sizes: dict[str, list[tuple[int, int]]] = {}
    whole: dict[str, str] = {}
    for count in (MANY, FEW):
        inputs = examples(problem, count).inputs
        base = _given(problem, at, inputs)
        others = [_given(problem, at, moved) for moved in changed(inputs)]
        for name, calls in base.items():
            shapes = [x.shape for x, _ in calls]
            features = len(layers[name].weight_shape) - 1
            if any([x.shape for x, _ in other.get(name, [])] != shapes for other in others):
                whole[name] = "how often or at how many places it is called depends on the examples"
            elif any(x.dim() <= features for x, _ in calls):
                whole[name] = "it is given rows that belong to no example"
            elif count == FEW and len(parts.get(name, ())) != len(calls):
                whole[name] = "how often it is called depends on the number of examples"
            if name in whole:
                parts.pop(name, None)
                continue
            rows_of = [
                torch.stack([_rows_changed(x, o[name][k][0], features, precision) for o in others])
                for k, (x, _) in enumerate(calls)
            ]
            pairs = parts.setdefault(name, [[] for _ in calls])
            for pair, rows_changed in zip(pairs, rows_of, strict=True):
                pair.append((count, rows_changed))
            sizes[name] = [(x.numel() // count, b.numel() // count) for x, b in calls]
    for name in set(parts) - set(base):
        whole[name] = "how often it is called depends on the number of examples"
    return {n: p for n, p in parts.items() if n not in whole}, sizes, whole


def _given(
    problem: Problem, at: dict[str, Tensor], inputs: Tensor
) -> dict[str, list[tuple[Tensor, Tensor]]]:
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def note(layer: Layer, x: Tensor, b: Tensor) -> None:
        if layer not in problem.whole:
            found.setdefault(layer.name, []).append((x.clone(), b))

    problem_outputs(problem, at, inputs, note)
    return found


def _rows_changed(x: Tensor, other: Tensor, features: int, precision: torch.dtype) -> Tensor:
    """Which rows of a layer's input differ, in the shape of its leading axes."""
    limit = CLOSE.get(precision, 1e-4) * float(torch.nan_to_num(x).abs().max())
    differs = (torch.nan_to_num(x) - torch.nan_to_num(other)).abs() > limit
    return differs.flatten(x.dim() - features).any(-1)


def vectorises(problem: Problem) -> tuple[str, bool]:
    """Take two draws of the gradient together and one by one.

    Returns:
        What was seen where they cannot be taken together, else an empty string; and whether log-likelihoods can be,
        where no gradient is taken.
    """
    noise = stream(KEY / "draws", dtype=problem.dtype)
    mean = {a.name: problem.posterior(a, problem.start).mean for a in problem.layers}
    two = {
        name: w + noise(name, (2, *w.shape)) / max(1, w[0].numel()) ** 0.5
        for name, w in mean.items()
    }
    batch = Batch(*(t.to(problem.device) for t in examples(problem, FEW)))
    batch = Batch(*(t.to(problem.dtype) if t.is_floating_point() else t for t in batch))

    def value(weights: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        return problem.log_likelihood(
            lambda layer, x: layer.linear(x, weights[layer.name]),
            Batch(inputs, targets),
            problem.start,
        ).sum()

    def one_by_one() -> list[Tensor]:
        found = []
        for k in range(2):
            leaves = {n: w[k].detach().requires_grad_() for n, w in two.items()}
            grads = torch.autograd.grad(
                value(leaves, *batch), list(leaves.values()), materialize_grads=True
            )
            found.append(torch.cat([g.flatten() for g in grads]))
        return found

    want = torch.stack(one_by_one())
    both = [torch.stack([t, t]) for t in batch]
    with warnings.catch_warnings():
        # an operation without a rule of its own is looped over: looping over draws is no slower, and says so
        warnings.filterwarnings("error", "There is a performance drop")
        try:
            vmap(value)(two, *both)
            values = True
        except Exception:
            values = False
        try:
            together = vmap(grad(value))(two, *both)
        except Exception as error:
            return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}", values
    found = torch.cat([together[name].flatten(1) for name in two], 1)
    if _same(found, want, torch.float32):
        return "", values
    return "draws taken together differ from draws taken one by one", False


def jumps(problem: Problem, module: nn.Module, seen: Seen) -> None:
    """Refuse a network whose gradient does not add up to the change of its log-likelihood along a line of weights.

    Pathwise gradients are those of the objective only if they do. A jump (rounding, a hard threshold), a part that is
    detached, or a backward pass of the user's own shows here. The line goes from the weights to those moved by noise;
    the integral is a Gauss-Legendre sum.

    Raises:
        InputError: It does not.
    """
    _, start = _moved_weights(module, problem, 0.0, seen.precision or torch.float64)
    for attempt in range(ATTEMPTS):
        _, end = _moved_weights(module, problem, 0.2, seen.precision or torch.float64, attempt + 1)
        for (
            nodes
        ) in NODES:  # more of them, if a kink such as that of a ReLU may explain the difference
            change, integral, size = _along(problem, start, end, nodes)
            if abs(change - integral) <= TOLERANCE * size:
                break
        else:
            break
    else:
        return
    worst = f"by {change:.3g}, and its gradient adds up to {integral:.3g}"
    raise InputError(
        f"problem '{problem.name}': along a line of weights the log-likelihood changes {worst}: the network or the "
        "likelihood has a jump (rounding, a threshold), a detached part or a backward pass of its own, so that "
        "gradients along the path of the noise are not those of the objective; expected a continuous function of the "
        "weights that is differentiated as it is computed."
    )


def _along(
    problem: Problem, start: dict[str, Tensor], end: dict[str, Tensor], nodes: int
) -> tuple[float, float, float]:
    """Change of the log-likelihood from one place to another, its gradient's integral on the way, and their size."""
    batch = examples(problem, FEW)
    step = {name: end[name] - start[name] for name in start}

    def value(t: Tensor) -> Tensor:
        at = {name: start[name] + t * step[name] for name in start}
        return problem.log_likelihood(
            lambda layer, x: layer.linear(x, at[layer.name]),
            batch,
            {n: v for n, v in at.items() if n in problem.start},
        )

    with torch.no_grad():
        changes = value(torch.ones(())) - value(torch.zeros(()))
    points, shares = np.polynomial.legendre.leggauss(nodes)
    slopes = []
    for point in points:
        t = torch.tensor((point + 1) / 2, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(value(t).sum(), t, materialize_grads=True)
        slopes.append(float(slope))
    integral = float(np.dot(shares, slopes)) / 2
    size = max(float(changes.abs().sum()), float(np.abs(slopes).mean()), 1e-6)
    return float(changes.sum()), integral, size


def _alone(asked: _Asked, inputs: Tensor, out: Tensor, precision: torch.dtype) -> bool:
    try:
        return _same(asked.outputs(inputs[:1]), out[:1], precision)
    except Exception:
        return False


class _Watch(TorchFunctionMode):
    """Notes whether fused attention is called."""

    found = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found |= func is torch.nn.functional.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


def _attends(network: nn.Module, asked: _Asked, inputs: Tensor) -> bool:
    if any(isinstance(m, nn.MultiheadAttention | nn.TransformerEncoder) for m in network.modules()):
        return True
    with _Watch() as watch:
        asked.outputs(inputs)
    return bool(watch.found)


def _same(a: Tensor, b: Tensor, precision: torch.dtype) -> bool:
    if a.shape != b.shape:
        return False
    a, b = torch.nan_to_num(a.double()), torch.nan_to_num(b.double())
    if a.numel() == 0:
        return True
    size = float(torch.maximum(a.abs(), b.abs()).max())
    return float((a - b).abs().max()) <= CLOSE.get(precision, 1e-4) * max(size, 1e-3)


def _double(value: Tensor) -> Tensor:
    return value.double() if value.is_floating_point() else value.clone()


def _finite(name: str, what: str, value: Tensor) -> None:
    bad = (~torch.isfinite(value)).flatten(1 if value.dim() > 1 else 0)
    if bool(bad.any()):
        row = int(bad.reshape(len(value), -1).any(1).nonzero()[0])
        raise InputError(
            f"problem '{name}': {what} for example {row} are not finite; check its inputs, its targets and the "
            "module's weights."
        )


def _hint(module: nn.Module) -> str:
    for path, part in module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and (
            part.training or part.running_mean is None
        ):
            return (
                f" '{path or 'the module'}' is a {type(part).__name__} in training mode, which couples the examples of "
                "a minibatch; call module.eval() first, or use LayerNorm."
            )
    return ""


def _noisy_hint(module: nn.Module) -> str:
    for path, part in module.named_modules():
        if isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0 and part.training:
            return f" ('{path or 'the module'}' is a {type(part).__name__} in training mode)"
    return ""


@contextmanager
def _steady(name: str, network: nn.Module, module: nn.Module) -> Iterator[None]:
    """Refuse a network that moves a global generator, or that no longer has the module's buffers and parameters."""
    generators: tuple[Callable[[], Any], ...] = (
        torch.random.get_rng_state,
        lambda: np.random.get_state(legacy=False),
        random.getstate,
    )
    before = [repr(_plain(state())) for state in generators]
    held = dict((*module.named_buffers(), *module.named_parameters()))
    yield
    if before != [repr(_plain(state())) for state in generators]:
        raise InputError(
            f"problem '{name}': a forward pass draws noise of its own from a global generator{_noisy_hint(network)}; "
            "remove it or call module.eval() first."
        )
    for path, value in (*network.named_buffers(), *network.named_parameters()):
        if path not in held or not torch.equal(
            torch.nan_to_num(held[path]), torch.nan_to_num(value)
        ):
            raise InputError(
                f"problem '{name}': a forward pass writes '{path}' of the module, so that a draw would depend on the "
                f"draws before it; call module.eval() first, or remove it.{_hint(network)}"
            )


def _plain(state: Any) -> Any:
    return state.tolist() if isinstance(state, Tensor) else state


@contextmanager
def _fast_paths_off() -> Iterator[None]:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
