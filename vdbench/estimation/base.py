"""What a gradient estimator is, a frozen dataclass that is called; and what is made of another estimator.

The other bases have files of their own: `vdbench.estimation.pathwise`, `score_function`, `binary_masks` and
`quasi_monte_carlo`.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from vdbench.errors import InputError
from vdbench.estimation import autodiff
from vdbench.noise import Key, Noise
from vdbench.problems.layers import Sampler
from vdbench.problems.problem import Batch, Parameters, Problem

LEARNED_BINARY = "learned-binary"
"""Declared of its posteriors by an estimator made for learned binary masks; the name of that posterior, too."""


class Gradient(NamedTuple):
    """One draw of an estimator.

    Attributes:
        value: Estimate of the objective, a scalar in nats: N/M · Σ_m log p(y_m | x_m, w).
        gradients: Estimate of its gradient, by parameter name, each of the parameter's shape. It points uphill.

    Example:
        >>> import vdbench
        >>> from vdbench import problems
        >>> from vdbench.noise import stream
        >>> problem = problems.build("mine", "classification", {"widths": []})
        >>> parameters = problem.initial(vdbench.Key(("seed", 0)))
        >>> batch = vdbench.Batch(*(tensor[:16] for tensor in problem.data.train))
        >>> draw = vdbench.get("local")(problem, parameters, batch, stream(vdbench.Key(("draw", 0))))
        >>> draw.value.shape, draw.gradients["fc1.mean"].shape
        (torch.Size([]), torch.Size([10, 64]))
    """

    value: Tensor
    gradients: dict[str, Tensor]


@dataclass(frozen=True)
class Declaration:
    """What an estimator says of itself, as data.

    Attributes:
        name: Name in the registry.
        objective: The objective class it estimates the gradient of; estimators are ranked only within one.
            ``elbo`` is E_q of the log-likelihood under the weight-space posterior.
        unbiased: Whether its mean is that gradient exactly.
        laws: Noise laws it asks for; empty for an estimator without noise. ``posterior`` stands for what the
            posterior's own noise (``q.draw``) asks for.
        independent_examples: Whether, given the parameters, the noise of different examples is independent.
        version: Changes whenever its results may change; part of the address of every stored block.
        pure: Whether a call is a function of its arguments alone; only then is it vectorised.
        posteriors: ``independent-normal`` where it is derived for independent normal weights and refuses others,
            ``sign-symmetric`` where it is for noise that keeps its law when inputs and outputs change sign,
            ``normal-preactivations`` where it is for normal weights, correlated or not, whose pre-activations q knows,
            ``row-shared`` where it needs one random number an input feature, shared by all outputs, ``any`` where it
            is valid for every posterior whose noise has a fixed law, and for learned binary masks too unless it draws
            them; ``learned-binary`` where it is made for those.
        objective_on_convolution: The objective class where several places of one example share a weight, as in a
            convolution; empty where it is ``objective`` there too.
        unbiased_given_minibatch: Whether its mean given a minibatch is the gradient of that minibatch, as it is unless
            it controls the data part of the variance. If not, its mean is right on average over minibatches alone.
    """

    name: str
    objective: str
    unbiased: bool
    laws: tuple[str, ...]
    independent_examples: bool
    version: str
    pure: bool = True
    posteriors: str = "independent-normal"
    objective_on_convolution: str = ""
    unbiased_given_minibatch: bool = True


class Estimator(ABC):
    """An estimator of the gradient of the N/M-scaled log-likelihood in the parameters of q.

    A concrete estimator is a frozen dataclass whose fields are its options, registered under a name. A call is
    a pure function of its arguments: noise comes from ``noise`` alone.

    Example:
        >>> from dataclasses import dataclass
        >>> import torch
        >>> import vdbench
        >>> @vdbench.register("zero", objective="elbo", unbiased=False, laws=(), independent_examples=True)
        ... @dataclass(frozen=True)
        ... class Zero(vdbench.Estimator):
        ...     def __call__(self, problem, parameters, batch, noise, state=()):
        ...         free = problem.free(parameters)
        ...         zeros = {name: torch.zeros_like(value) for name, value in free.items()}
        ...         return vdbench.Gradient(torch.zeros(()), zeros)
        >>> vdbench.get("zero").declaration.objective
        'elbo'
    """

    declared: ClassVar[Declaration]
    """What its class was registered with."""

    open_options: ClassVar[str] = ""
    """A field that takes options of any other name, each an estimator: a tuple of pairs, by name; none by default."""

    @property
    def declaration(self) -> Declaration:
        """What this estimator declares: what its class was registered with, unless its options change it."""
        return self.declared

    @property
    def draws_per_gradient(self) -> int:
        """Draws of noise that one gradient is the mean of: the option ``samples`` where there is one, else 1."""
        return int(getattr(self, "samples", 1))

    @property
    def pathwise(self) -> bool:
        """Whether a draw is the cost's gradient along the path of its noise, differentiable in that noise."""
        return False

    @property
    def passes_together(self) -> int:
        """Forward passes whose activations one draw holds at once; draws are vectorised the fewer for it."""
        return 1

    def examples_together(self, problem: Problem) -> int | None:
        """Examples of a minibatch that it passes at once on a problem; None for all of them."""
        return None

    @property
    def costs_without_gradient(self) -> bool:
        """Whether it takes log-likelihoods of which it takes no gradient, which some networks vectorise less well."""
        return False

    @property
    def passes_each_weight(self) -> bool:
        """Whether one gradient passes the network for every weight, so that only few weights are cheap."""
        return False

    @property
    def own_whole_weights(self) -> bool:
        """Whether every example has its own sample of a weight that can only be sampled whole; else they share one."""
        return False

    @property
    def refit_epochs(self) -> int:
        """Epochs of training after which `fit` is called anew, at the parameters of then; 0 for never."""
        return 0

    def passes_to_fit(self, state: Any) -> int:
        """Gradients of the whole training split that `fit` took for a state; 0 where it took pilot draws."""
        return 0

    @property
    def separate_weights(self) -> bool:
        """Whether a draw is the pathwise gradient with an independent sample of all weights for each example."""
        return False

    def objective_on(self, problem: Problem) -> str:
        """The objective class whose gradient it estimates on a problem; see `objective`."""
        declared = self.declaration
        if problem.shared and declared.objective_on_convolution:
            return declared.objective_on_convolution
        return declared.objective

    def need_problem(self, problem: Problem) -> None:  # noqa: B027
        """Refuse a problem for what its posterior does not show; `need_posterior` asks. Nothing by default.

        Raises:
            CellError: It is not valid there.
        """

    @abstractmethod
    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """One draw of the gradient on one minibatch.

        Args:
            problem: Model, likelihood and data.
            parameters: All parameters; gradients are returned for ``problem.free(parameters)``.
            batch: A minibatch of M examples.
            noise: The noise of this draw.
            state: What `fit` returned.
        """

    def fit(self, problem: Problem, parameters: Parameters, key: Key) -> Any:
        """State that the estimator needs at these parameters, from pilot draws of its own; none by default."""
        return ()

    def update(self, state: Any, gradient: Gradient) -> Any:
        """State after a training step that used ``gradient``; unchanged by default."""
        return state


@dataclass(frozen=True)
class Wrapper(Estimator):
    """An estimator made of another: it declares what that one declares, and passes its state on.

    A wrapper is registered with a name and a version alone; all else it declares is the inner estimator's. A subclass
    gives ``of`` a default, as every option has one, and refuses in ``__post_init__`` what it is not valid for. The
    state is the inner estimator's: `fit` and `update` are its own, and `update` is given the wrapper's gradient.

    Attributes:
        of: The estimator that is wrapped.

    Example:
        >>> from dataclasses import dataclass
        >>> import vdbench
        >>> @vdbench.register("negated", version="1")
        ... @dataclass(frozen=True)
        ... class Negated(vdbench.Wrapper):
        ...     of: vdbench.Estimator = vdbench.get("local")
        ...     def __call__(self, problem, parameters, batch, noise, state=()):
        ...         value, gradients = self.of(problem, parameters, batch, noise, state)
        ...         return vdbench.Gradient(value, {name: -g for name, g in gradients.items()})
        >>> vdbench.get("negated", of="naive").declaration.laws
        ('posterior',)
    """

    of: Estimator

    def __post_init__(self) -> None:
        """Refuse what is no registered estimator.

        Raises:
            InputError: It is none.
        """
        if not isinstance(self.of, Estimator):
            raise InputError(
                f"{self.named}: option of must be an estimator, such as vdbench.get('local'), not {self.of!r}."
            )
        if not hasattr(self.of, "declaration"):
            raise InputError(
                f"{self.named}: the estimator {self.of!r} is not registered: decorate its class with "
                "@vdbench.register(...)."
            )

    def need_noise(self) -> None:
        """For a wrapper that averages draws: refuse an estimator whose draws are all the same.

        Raises:
            InputError: It draws no noise, of vdbench or its own.
        """
        inner = self.of.declaration
        if inner.pure and not inner.laws:
            raise InputError(
                f"{self.named}: estimator '{inner.name}' draws no noise: all its draws on a minibatch are equal, "
                "and so is any mean of them."
            )

    @property
    def named(self) -> str:
        """The wrapper's own name, for messages."""
        return self.declared.name if hasattr(self, "declared") else type(self).__name__

    @property
    def declaration(self) -> Declaration:
        """The inner estimator's, under the wrapper's own name and version."""
        own = self.declared
        return replace(self.of.declaration, name=own.name, version=own.version)

    @property
    def draws_per_gradient(self) -> int:
        """The inner estimator's; a wrapper that averages several of its gradients multiplies it."""
        return self.of.draws_per_gradient

    @property
    def pathwise(self) -> bool:
        """Whether the inner estimator's is."""
        return self.of.pathwise

    @property
    def passes_together(self) -> int:
        """The inner estimator's."""
        return self.of.passes_together

    def examples_together(self, problem: Problem) -> int | None:
        """The inner estimator's."""
        return self.of.examples_together(problem)

    @property
    def costs_without_gradient(self) -> bool:
        """Whether the inner estimator does."""
        return self.of.costs_without_gradient

    @property
    def passes_each_weight(self) -> bool:
        """Whether the inner estimator does."""
        return self.of.passes_each_weight

    @property
    def own_whole_weights(self) -> bool:
        """As the inner estimator's examples."""
        return self.of.own_whole_weights

    @property
    def refit_epochs(self) -> int:
        """As often as the inner estimator, whose state this is."""
        return self.of.refit_epochs

    def passes_to_fit(self, state: Any) -> int:
        """Those of the inner estimator."""
        return self.of.passes_to_fit(state)

    def objective_on(self, problem: Problem) -> str:
        """The inner estimator's."""
        return self.of.objective_on(problem)

    def need_problem(self, problem: Problem) -> None:
        """Refuse what the inner estimator refuses."""
        self.of.need_problem(problem)

    def fit(self, problem: Problem, parameters: Parameters, key: Key) -> Any:
        """State of the inner estimator."""
        return self.of.fit(problem, parameters, key)

    def update(self, state: Any, gradient: Gradient) -> Any:
        """State of the inner estimator after a training step that used this wrapper's ``gradient``."""
        return self.of.update(state, gradient)


def chain(estimator: Estimator) -> Iterator[Estimator]:
    """An estimator and, if it is a wrapper, what it wraps, from the outermost to the innermost."""
    yield estimator
    if isinstance(estimator, Wrapper):
        yield from chain(estimator.of)


def objective(estimator: Estimator, problem: Problem) -> str:
    """The objective class whose gradient an estimator estimates on a problem.

    An estimator that samples pre-activations gives every place of an example noise of its own. Where several places
    share one weight, as in a convolution or a dense layer along a sequence, they would share the noise of that weight:
    independent noise is another objective, with another gradient.
    """
    return estimator.objective_on(problem)


def independent_examples(estimator: Estimator, problem: Problem) -> bool:
    """Whether the noise of different examples is independent on a problem.

    It is not where a weight can only be sampled whole, one sample for the minibatch, unless the estimator has no noise
    or gives every example a sample of its own.
    """
    declared = estimator.declaration
    if not declared.independent_examples:
        return False
    return not problem.whole or not declared.laws or estimator.own_whole_weights


def average(draws: Iterable[Gradient]) -> Gradient:
    """Mean of one or more draws, added up as they come: two are held at a time, not all."""
    total, count = None, 0
    for draw in draws:
        total = draw if total is None else add(total, draw)
        count += 1
    assert total is not None
    return Gradient(total.value / count, {n: g / count for n, g in total.gradients.items()})


def add(a: Gradient, b: Gradient) -> Gradient:
    """Sum of two gradients in the same parameters, and of their values."""
    gradients = {name: value + b.gradients[name] for name, value in a.gradients.items()}
    return Gradient(a.value + b.value, gradients)


def pathwise_gradient(
    problem: Problem,
    parameters: Parameters,
    batch: Batch,
    sampler: Callable[[Parameters], Sampler],
    scale: float,
) -> Gradient:
    """Value and gradient of scale · Σ_m log p(y_m | x_m, ·) through the network and the sampler.

    Args:
        problem: Model and likelihood.
        parameters: Where.
        batch: The examples.
        sampler: Makes the sampler at given parameters, so that its own dependence on them is differentiated.
        scale: N/M of the whole minibatch.
    """

    def values(free: dict[str, Tensor]) -> Tensor:
        at = {**parameters, **free}
        return problem.log_likelihood(sampler(at), batch, at)

    return Gradient(*autodiff.differentiate_sum(values, problem.free(parameters), scale))


def default(item: dataclasses.Field[Any]) -> Any:
    """The default of an estimator's option."""
    made = item.default_factory
    return item.default if made is dataclasses.MISSING else made()
