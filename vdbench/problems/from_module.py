"""A problem from any module: its layers made noisy, and what cannot be measured refused with the reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vdbench.datasets import Dataset
from vdbench.datasets.conversion import as_dataset
from vdbench.errors import InputError
from vdbench.problems import gaussian, kl, priors, probe_module
from vdbench.problems.copied import copied, unwrapped
from vdbench.problems.gaussian import MeanLogVariance
from vdbench.problems.given_parameters import started
from vdbench.problems.layers import (
    Layer,
    OutsideCall,
)
from vdbench.problems.likelihoods import Categorical, Likelihood
from vdbench.problems.opening import built, opened, refuse_posterior
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.places import Use
from vdbench.problems.priors import GaussianPrior, Prior
from vdbench.problems.probe import Seen, reason
from vdbench.problems.problem import Batch, Problem
from vdbench.problems.selection import (
    HELD,
    LayerChoice,
    Selection,
    select,
)
from vdbench.problems.several_inputs import Adapter, wrapped


@torch.inference_mode(False)
@torch.enable_grad()
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
    parameters: Mapping[str, Tensor] | nn.Module | None = None,
    names: Mapping[str, Any] | None = None,
    kl_weight: float = 1.0,
    forward: Adapter | None = None,
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
            deviations in any coordinates that have both. With ``keep_weights`` all seeds start there. Or a trained
            module of another library, with its layers at the same paths, or its state dict with ``names``.
        names: What another library calls the parameters of its layers: ``{"mean": "mu_weight", "scale":
            ("rho_weight", "softplus"), "bias": "mu_bias"}``, the scale with a name of `vdbench.register_layer`'s
            transforms or a pair of functions; default those of libraries known to the audits.
        kl_weight: What the KL is multiplied by, everywhere: 1 for the ELBO, less for a cold posterior.
        forward: How the module is called, where not as ``model(X)``: a function of the module and its inputs that gives
            the outputs, such as ``lambda model, x: model(x).logits``; several inputs are given as the module would get
            them, by place or by name.

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
    _refuse_arguments(name, keep_weights, kl_weight)
    if names is not None and parameters is None:
        raise InputError(
            f"problem '{name}': names= says what parameters= are called, and there are none."
        )
    network = copied(module, name)
    coordinates: Parameterization = (
        _built_from(
            "parameterization", Parameterization, gaussian.from_spec, parameterization, name
        )
        or MeanLogVariance()
    )
    prior = _built_from("prior", Prior, priors.from_spec, prior, name) or GaussianPrior(1.0)
    kl.refuse(prior, coordinates, name)
    found = as_dataset(data, test=test, target=target, name=name)
    network, users = _in_place(network, module, found.tables, forward, name)
    selection = select(network, layers, name)
    _refuse_count(coordinates, selection, name)
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
        kl_weight=float(kl_weight),
    )
    seen = probe_module.behaviour_of(network, bare, likelihood, unwrapped(users))
    problem = _opened(network, selection, replace(bare, likelihood=seen.likelihood), seen)
    weighted = () if kl_weight == 1 else (f"the KL is multiplied by {kl_weight:g}",)
    said = (*found.said, *seen.said, *weighted, *problem.behaviour.said)
    problem = replace(problem, behaviour=replace(problem.behaviour, said=said))
    return problem if parameters is None else started(problem, parameters, names)


def _refuse_arguments(name: object, keep_weights: object, kl_weight: object) -> None:
    """Refuse plain values of the wrong kind."""
    if not isinstance(name, str) or not name:
        raise InputError(f"name of the problem must be a text, not {name!r}.")
    if not isinstance(keep_weights, bool):
        raise InputError(
            f"problem '{name}': keep_weights must be True or False, not {keep_weights!r}."
        )
    if isinstance(kl_weight, bool) or not isinstance(kl_weight, int | float):
        raise InputError(f"problem '{name}': kl_weight must be a number, not {kl_weight!r}.")
    if not 0 <= kl_weight < math.inf:
        raise InputError(
            f"problem '{name}': kl_weight must be a finite number of at least 0, not {kl_weight!r}."
        )


def _in_place(
    network: nn.Module, module: nn.Module, tables: Any, forward: Adapter | None, name: str
) -> tuple[nn.Module, nn.Module]:
    """A network that is called with one input, and holds a layer that is given alone.

    Returns:
        The copy, and the same with the user's own parameters, to see that the copy has none of them in use.
    """
    if tables is not None or forward is not None:
        return wrapped(network, tables, forward, name), wrapped(module, tables, forward, name)
    if isinstance(network, tuple(kind for kind, _ in HELD)):
        return nn.Sequential(network), nn.Sequential(unwrapped(module))
    return network, module


def _opened(network: nn.Module, selection: Selection, bare: Problem, seen: Seen) -> Problem:
    """The problem, with as many of its layers opened as may be."""
    whole = {w.name: w.why for w in selection.weights if not w.opened}
    try:
        return opened(network, selection, bare, seen, whole)
    except OutsideCall as error:
        raise InputError(
            f"problem '{bare.name}': the module calls its layers again in the backward pass (activation "
            "checkpointing), where their noise is gone; switch that off."
        ) from error


def ours(
    body: nn.Module,
    data: Dataset,
    *,
    name: str,
    prior: Prior,
    parameterization: Parameterization,
    likelihood: Likelihood | None = None,
    layers: LayerChoice | None = None,
    keep_weights: bool = False,
) -> Problem:
    """A network of vdbench's own: dense and convolutional layers, each called once with the example's axis first.

    What `noisy` asks of any module is known of these, and tested; one forward pass shows that the data fit and how an
    example uses each layer.

    Args:
        body: The network, from `vdbench.problems.networks` or `vdbench.certificate`.
        data: Its data.
        name: Label in reports.
        prior: The KL term.
        parameterization: Coordinates of q.
        likelihood: log p(target | output); default a classification.
        layers: Which layers are noisy, as of `noisy`; default all.
        keep_weights: Start from the network's weights, instead of drawing them under each seed.

    Raises:
        InputError: The data do not fit, or the KL of q from the prior is infinite.
    """
    kl.refuse(prior, parameterization, name)
    selection = select(body, layers, name)
    _refuse_count(parameterization, selection, name)
    bare = Problem(
        name=name,
        module=body,
        layers=(),
        parameterization=parameterization,
        likelihood=likelihood or Categorical(),
        prior=prior,
        data=data,
        start={},
        keep_weights=keep_weights,
    )
    seen = Seen(
        precision=None,
        of_likelihood=None,
        writes_inputs=False,
        alone=True,
        attention=False,
        derives=False,
        amount=0.0,
        rounding=torch.float64,
        likelihood=bare.likelihood,
        said=(),
    )
    problem = built(body, selection, bare, seen, {})
    refuse_posterior(problem)
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
