"""A problem from any module: its layers made noisy, and what cannot be measured refused with the reason."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vdbench.datasets import Dataset
from vdbench.datasets.conversion import as_dataset
from vdbench.errors import InputError, nearest
from vdbench.problems import gaussian, kl, priors, probe_gradient, probe_layers, probe_module
from vdbench.problems.gaussian import MeanLogVariance
from vdbench.problems.layers import (
    PLACEHOLDER,
    Layer,
    NoisyModule,
    OutsideCall,
    WholeWeight,
    layer_of,
)
from vdbench.problems.likelihoods import Categorical, Likelihood
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.places import Use
from vdbench.problems.priors import GaussianPrior, Prior
from vdbench.problems.probe import Seen, reason
from vdbench.problems.problem import Batch, Behaviour, Group, Problem
from vdbench.problems.selection import (
    HELD,
    LayerChoice,
    Selection,
    Weight,
    refuse_altered,
    select,
)
from vdbench.problems.several_inputs import RowLookup


def noisy(
    module: nn.Module,
    data: Any,
    *,
    test: Any = None,
    target: Hashable | None = None,
    name: str = "module",
    likelihood: Likelihood | Callable[[Tensor, Tensor], Tensor] | str | None = None,
    prior: Prior | str | Mapping[str, Any] | None = None,
    parameterization: Parameterization | str | Mapping[str, Any] | None = None,
    keep_weights: bool = True,
    layers: LayerChoice | None = None,
    parameters: Mapping[str, Tensor] | None = None,
) -> Problem:
    """Make the weights of a module's layers noisy, and a problem of the module.

    Weights of dense and convolutional layers (transposed ones too), embeddings, recurrent layers and attention are made
    noisy, unless they are frozen. A dense or convolutional layer that the network calls as torch does is *opened*: its
    pre-activations can be sampled. Of any other weight, the weight itself is sampled, once for the minibatch. Biases,
    normalisations and other parameters stay deterministic, and frozen ones stay as they are. The module is not changed.

    Before anything is measured, the module is tried on a few examples (`vdbench.problems.probe`).

    Args:
        module: Any network whose examples do not interact; (M, …) in, outputs (M, …) out.
        data: A data set of vdbench or its name, ``(X, y)`` of numpy arrays or torch tensors, a pandas frame, a data set
            or loader of torch, or a Hugging Face data set; see `vdbench.datasets.conversion.as_dataset`. X may be a
            tuple or a dict of arrays, the module's several inputs.
        test: The test split, in the same form; None for none.
        target: Name of a frame's or data set's target column.
        name: Label in reports.
        likelihood: log p(target | output), (M,): ``classification``, ``regression``, ``heteroscedastic``, ``binary``,
            ``poisson``, or a function of outputs and targets; default what the targets say, where that is obvious.
        prior: KL term, or its name as in a suite; default a standard normal prior.
        parameterization: Coordinates of q, or their name as in a suite; default (μ, log σ²).
        keep_weights: Start from the module's weights (the default), or draw He-normal ones under each seed.
        layers: Which layers: names or patterns such as ``encoder.*``, or a function of name and module; default all
            whose weights are not frozen. A parameter that no layer holds is noisy if it is named.
        parameters: Where to start, in place of the module's weights: some or all of the problem's parameters by name,
            such as ``fc1.mean`` and ``fc1.log_variance``; or ``fc1.mean`` and ``fc1.scale``, means and standard
            deviations in any coordinates that have both. With ``keep_weights`` all seeds start there.

    Raises:
        InputError: No layer is left to make noisy; a pattern matches none; the module's examples interact, it draws
            noise of its own or writes its buffers; it or its likelihood does not fit the data, or the data are in no
            known form; parameters of other names or shapes; or the KL of q from the prior is infinite.

    Example:
        >>> from torch import nn
        >>> import vdbench
        >>> from vdbench import datasets
        >>> net = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        >>> [layer.name for layer in vdbench.noisy(net, datasets.load("digits")).layers]
        ['0', '2']
        >>> [layer.name for layer in vdbench.noisy(net, datasets.load("digits"), layers="2").layers]
        ['2']
    """
    with torch.inference_mode(False), torch.enable_grad():
        return _noisy(
            module,
            data,
            test,
            target,
            name,
            likelihood,
            prior,
            parameterization,
            keep_weights,
            layers,
            parameters,
        )


def _noisy(
    module: nn.Module,
    data: Any,
    test: Any,
    target: Hashable | None,
    name: str,
    likelihood: Likelihood | Callable[[Tensor, Tensor], Tensor] | str | None,
    prior: Prior | str | Mapping[str, Any] | None,
    parameterization: Parameterization | str | Mapping[str, Any] | None,
    keep_weights: bool,
    layers: LayerChoice | None,
    parameters: Mapping[str, Tensor] | None,
) -> Problem:
    if not isinstance(name, str) or not name:
        raise InputError(f"name of the problem must be a text, not {name!r}.")
    if not isinstance(keep_weights, bool):
        raise InputError(
            f"problem '{name}': keep_weights must be True or False, not {keep_weights!r}."
        )
    network = _copy(module, name)
    coordinates: Parameterization = (
        _built_from(
            "parameterization", Parameterization, gaussian.from_spec, parameterization, name
        )
        or MeanLogVariance()
    )
    prior = _built_from("prior", Prior, priors.from_spec, prior, name) or GaussianPrior(1.0)
    kl.refuse(prior, coordinates, name)
    found = as_dataset(data, test=test, target=target, name=name)
    users = module  # with the user's own parameters, to see that the copy has none of them in use
    if found.tables is not None:
        network, users = (RowLookup(part, found.tables) for part in (network, module))
    elif isinstance(
        network, tuple(kind for kind, _ in HELD)
    ):  # a layer alone needs a place in a network
        network, users = nn.Sequential(network), nn.Sequential(_plain(module))
    selection = select(network, layers, name)
    _refuse_count(coordinates, selection, name)
    whole = {w.name: w.why for w in selection.weights if not w.opened}
    bare = Problem(
        name=name,
        module=network,
        layers=(),
        parameterization=coordinates,
        likelihood=Categorical(),
        prior=prior,
        data=found.dataset,
        start={},
        keep_weights=keep_weights,
    )
    seen = probe_module.behaviour_of(network, bare, likelihood, _plain(users))
    bare = replace(bare, likelihood=seen.likelihood)
    try:
        problem = _agreed(network, selection, bare, seen, whole)
    except OutsideCall as error:
        raise InputError(
            f"problem '{name}': the module calls its layers again in the backward pass (activation checkpointing), "
            "where their noise is gone; switch that off."
        ) from error
    problem = replace(
        problem,
        behaviour=replace(
            problem.behaviour, said=(*found.said, seen.said, *problem.behaviour.said)
        ),
    )
    return problem if parameters is None else _started(problem, parameters)


def ours(
    body: nn.Module,
    data: Dataset,
    *,
    name: str,
    prior: Prior,
    parameterization: Parameterization,
) -> Problem:
    """A classification with a network of vdbench's own: dense and convolutional layers, each called once on examples.

    What `noisy` asks of any module is known of these, and tested; one forward pass shows that the data fit and how an
    example uses each layer. Weights are drawn under each seed.

    Args:
        body: The network, from `vdbench.problems.networks`.
        data: A bundled data set.
        name: Label in reports.
        prior: The KL term.
        parameterization: Coordinates of q.

    Raises:
        InputError: The data do not fit, or the KL of q from the prior is infinite.
    """
    kl.refuse(prior, parameterization, name)
    selection = select(body, None, name)
    _refuse_count(parameterization, selection, name)
    bare = Problem(
        name=name,
        module=body,
        layers=(),
        parameterization=parameterization,
        likelihood=Categorical(),
        prior=prior,
        data=data,
        start={},
    )
    seen = Seen(
        precision=None,
        of_likelihood=None,
        writes_inputs=False,
        alone=True,
        attention=False,
        amount=0.0,
        rounding=torch.float64,
        likelihood=Categorical(),
        said="",
    )
    problem = _built(body, selection, bare, seen, {})
    _refuse_posterior(problem)
    uses = dict(problem.uses)

    def mean(layer: Layer, x: Tensor) -> Tensor:
        b = layer.linear(x, problem.posterior(layer, problem.start).mean)
        inputs, outputs = (math.prod(t.shape[1:]) for t in (x, b))
        uses[layer.name] = Use(inputs, outputs, outputs // layer.outputs)
        return b

    batch = Batch(*(part[:2] for part in data.train))
    try:
        with torch.no_grad():
            problem.log_likelihood(mean, batch, problem.start)
    except (RuntimeError, IndexError) as error:
        raise InputError(
            f"problem '{name}': the module does not fit inputs of shape (M, "
            f"{', '.join(map(str, batch.inputs.shape[1:]))}): {reason(error)}"
        ) from error
    return replace(problem, uses=uses)


def _refuse_count(form: Parameterization, selection: Selection, name: str) -> None:
    if form.layers not in (None, len(selection.weights)):
        raise InputError(
            f"problem '{name}': the posterior gives a value for each of {form.layers} noisy layers, "
            f"the module has {len(selection.weights)}."
        )


def _built_from(
    what: str, kind: type[Any], build: Callable[[object], Any], given: Any, name: str
) -> Any:
    """What is given, or built as a suite asks for it."""
    if given is None or isinstance(given, kind):
        return given
    if isinstance(given, str | Mapping):
        return build(given)
    raise InputError(
        f"problem '{name}': {what} must be a {kind.__name__} or the name of one, not {given!r}."
    )


def _started(problem: Problem, parameters: Mapping[str, Tensor]) -> Problem:
    """The problem with these parameters in place of those it starts from."""
    if not isinstance(parameters, Mapping):
        raise InputError(
            f"problem '{problem.name}': parameters must be a mapping of names to tensors, not "
            f"{type(parameters).__name__}."
        )
    given = {str(key): _tensor(problem, str(key), value) for key, value in parameters.items()}
    for layer in problem.layers:
        scale = given.pop(f"{layer.name}.scale", None)
        if scale is None:
            continue
        roles = problem.parameterization.roles
        mean = given.get(f"{layer.name}.mean", given.get(f"{layer.name}.theta"))
        if "log_variance" in roles:
            given[f"{layer.name}.log_variance"] = 2 * scale.abs().log()
        elif "log_alpha" in roles and mean is not None:
            given[f"{layer.name}.log_alpha"] = 2 * (scale.abs().log() - mean.abs().log())
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


def _agreed(
    network: nn.Module,
    selection: Selection,
    bare: Problem,
    seen: Seen,
    whole: dict[str, str],
) -> Problem:
    """The problem, with as many layers opened as it computes the same with as the module."""
    name = bare.name
    while True:
        problem = _built(network, selection, bare, seen, whole)
        wide = problem.to("cpu", torch.float64)
        opened = [w.name for w in selection.weights if w.name not in whole]
        odd = probe_layers.agreement(network, wide, seen)
        if odd is None:
            folds, uses, follow_none = probe_layers.rows(wide, network, seen)
            if not follow_none:
                break
            whole |= follow_none
        elif odd[0]:
            whole[odd[0]] = odd[1]
        elif opened:
            whole |= _culprits(network, selection, bare, seen, whole, opened)
        else:
            raise InputError(
                f"problem '{name}': with the module's own weights given to its noisy layers, the outputs are not the "
                f"module's ({odd[1]}): it changes or copies its weights in a way that is not followed; expected a "
                "forward pass that uses the parameters of its layers."
            )
    uses = {layer.name: uses.get(layer.name) or _unused(layer) for layer in problem.layers}
    wide = replace(wide, uses=uses)
    probe_module.all_examples(network, wide, seen)
    idle = probe_layers.without_effect(wide, network, seen) if seen.amount else []
    probe_gradient.jumps(wide, network, seen)
    _refuse_posterior(problem)
    problem = replace(
        problem,
        uses=uses,
        behaviour=replace(
            problem.behaviour,
            folds=folds,
            said=tuple(
                f"the weight of layer {layer} has no effect on the outputs of the examples tried"
                for layer in idle
            ),
        ),
    )
    why, values = probe_gradient.vectorises(problem.to(problem.device, torch.float32))
    return replace(
        problem,
        behaviour=replace(
            problem.behaviour, vectorises=not why, why_looped=why, vectorises_values=values
        ),
    )


def _culprits(
    network: nn.Module,
    selection: Selection,
    bare: Problem,
    seen: Seen,
    whole: dict[str, str],
    opened: list[str],
) -> dict[str, str]:
    """The opened layers with which alone the outputs differ; all of them, if it is none."""
    why = "the network does more with it than call it"
    found = {}
    for one in opened:
        others = {**whole, **{other: why for other in opened if other != one}}
        wide = _built(network, selection, bare, seen, others).to("cpu", torch.float64)
        if probe_layers.agreement(network, wide, seen) is not None:
            found[one] = why
    return found or dict.fromkeys(opened, why)


def _built(
    network: nn.Module,
    selection: Selection,
    bare: Problem,
    seen: Seen,
    whole: dict[str, str],
) -> Problem:
    """A problem whose layers named in ``whole`` are not opened."""
    body = copy.deepcopy(network)
    coordinates = bare.parameterization
    start: dict[str, Tensor] = {}
    groups: dict[str, Group] = {}
    layers: list[Layer] = []
    noisy_paths: set[str] = set()
    for place, weight in enumerate(selection.weights):
        part = body.get_submodule(weight.owner)
        value = body.get_parameter(weight.path)
        layer = _layer(weight, part, value, weight.name in whole)
        layers.append(layer)
        noisy_paths |= {weight.path, *weight.ties}
        for key, initial in coordinates.initial(value.detach(), place).items():
            start[f"{layer.name}.{key}"] = initial
            groups[f"{layer.name}.{key}"] = Group(layer.name, coordinates.roles[key])
        bias = getattr(part, "bias", None)
        if weight.name not in whole:
            if bias is not None and bias.requires_grad:
                start[f"{layer.name}.bias"] = bias.detach().clone()
                groups[f"{layer.name}.bias"] = Group(layer.name, "bias")
            place_holder = NoisyModule(layer, part)
            for path in (weight.owner, *weight.aliases):
                parent, _, child = path.rpartition(".")
                setattr(body.get_submodule(parent), child, place_holder)
    frozen = []
    for path, value in body.named_parameters():
        if path in noisy_paths:
            value.requires_grad_(False)  # it is given at each pass
        elif path.rpartition(".")[2] == PLACEHOLDER:
            continue
        elif not value.requires_grad:
            frozen.append(path)
        elif path in start:
            raise InputError(
                f"problem '{bare.name}': the module has a parameter '{path}', which is what a coordinate of the "
                "posterior is called; rename it in the module."
            )
        else:
            start[path] = value.detach().clone()
            owner, _, leaf = path.rpartition(".")
            groups[path] = Group(owner, leaf)
    return replace(
        bare,
        module=body,
        layers=tuple(layers),
        start=start,
        groups=groups,
        uses={layer.name: _unused(layer) for layer in layers},
        behaviour=Behaviour(
            whole={w.name: whole[w.name] for w in selection.weights if w.name in whole},
            without=selection.without,
            frozen=tuple(frozen),
            writes_inputs=seen.writes_inputs,
            alone=seen.alone,
            precision=seen.precision,
            of_likelihood=seen.of_likelihood,
            attention=seen.attention,
            recurrent=any(isinstance(m, nn.RNNBase) for m in body.modules()),
        ),
    )


def _layer(weight: Weight, part: nn.Module, value: Tensor, whole: bool) -> Layer:
    if whole:
        return WholeWeight(
            weight.name, tuple(value.shape), path=weight.path, zero_row=weight.zero_row
        )
    return layer_of(weight.name, part)


def _unused(layer: Layer) -> Use:
    """Of a layer that is not called, and of a weight that is sampled whole."""
    if isinstance(layer, WholeWeight):
        return Use(1, layer.weight_shape[0], 1)
    return Use(layer.fan_in, layer.outputs, 1)


def _copy(module: nn.Module, name: str) -> nn.Module:
    if not isinstance(module, nn.Module):
        raise InputError(
            f"problem '{name}': expected a torch.nn.Module, not {type(module).__name__}."
        )
    module = _plain(module)
    try:
        network = copy.deepcopy(module)
    except Exception as error:
        refuse_altered(module, name)
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"problem '{name}': the module cannot be copied: {type(error).__name__}: {reason}"
        ) from error
    for part in network.modules():
        if isinstance(part, nn.Embedding | nn.EmbeddingBag):
            part.sparse = False  # the same gradient, in a form that can be added up
    return network


def _plain(module: nn.Module) -> nn.Module:
    """The network within a wrapper that computes the same."""
    if isinstance(module, nn.DataParallel):
        module = module.module
    compiled = getattr(module, "_orig_mod", None)
    return compiled if isinstance(compiled, nn.Module) else module  # of torch.compile


def _refuse_posterior(problem: Problem) -> None:
    """Noise that outputs share is noise of a layer's inputs: it needs layers whose inputs are known."""
    form = problem.parameterization
    if getattr(form, "per", "layer") in ("input", "output"):
        for layer in problem.layers:
            if isinstance(layer, WholeWeight) or not layer.inputs_second:
                raise InputError(
                    f"problem '{problem.name}': the posterior '{form.name}' has an α for each "
                    f"{getattr(form, 'per', '')}, and layer '{layer.name}' does not keep its weights by outputs and "
                    "inputs; expected per='layer' or 'weight', or other layers with layers=."
                )
    if form.sharing != "inputs":
        return
    for layer in problem.layers:
        if isinstance(layer, WholeWeight) or not layer.inputs_second:
            why = problem.behaviour.whole.get(
                layer.name, "its weights are those of a transposed one"
            )
            raise InputError(
                f"problem '{problem.name}': the posterior '{problem.parameterization.name}' shares noise among the "
                f"outputs of an input feature, and layer '{layer.name}' has no such features: {why}; expected another "
                "posterior, or other layers with layers=."
            )
