"""Several control variates at once, each the difference of two estimators, with fitted weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from estimators.control_variate import ControlVariate
from estimators.naive import Naive
from estimators.quadratic_control_variate import QuadraticControlVariate
from vdbench import (
    Batch,
    CellError,
    Estimator,
    Gradient,
    InputError,
    Key,
    Noise,
    Parameters,
    Problem,
    need_posterior,
    register,
)
from vdbench.estimation import anchor, least_squares
from vdbench.estimation.base import LEARNED_BINARY, Declaration
from vdbench.estimation.draws import gather, minibatch
from vdbench.estimation.validity import DERIVED
from vdbench.noise import Repeated


def _members() -> tuple[tuple[str, Estimator], ...]:
    """A Taylor polynomial of the draw, and a model of the cost."""
    return ("model", QuadraticControlVariate()), ("taylor", ControlVariate())


@register(
    "ensemble-control-variate",
    objective="elbo",
    unbiased=True,
    laws=("posterior",),
    independent_examples=False,
    version="1",
)
@dataclass(frozen=True)
class EnsembleControlVariate(Estimator):
    r"""An estimator less a weighted sum of its differences from others, all on the same noise.

    Formula: $g_0 - \sum_{k=1}^Ka_k(g_0 - g_k)$, $a = (C + \lambda\,\mathrm{diag}\,C)^{-1}b$ for every parameter.

    Each $g_k$ is an unbiased estimator of the same gradient, so $c_k = g_0 - g_k$ has mean 0, and any fixed weights
    leave the mean as it is. The noise is shared: two estimators that ask for the same numbers get the same. So the
    difference of naive sampling and ``control-variate`` is the control variate of that, and the difference of two
    estimators with noise of their own lets the weights average them by their variances. $C$ and $b$ are covariances of
    the $c_k$ among themselves and with $g_0$, summed over the entries of a parameter. ``fit`` estimates them from
    differences of P pairs of pilot draws; the results are conditional on these. λ keeps few draws from fitting chance.
    If $g_k$ has no variance, the weight is $1/(1 + \lambda)$, and $(\lambda/(1 + \lambda))^2$ of the variance is left.

    A pair is on one minibatch, as the noise part is all that such weights change. If a member controls the choice of
    the minibatch, the two are on minibatches of their own, and the mean is right on average over minibatches alone.

    Options are names of your choice, each with an estimator: the members. Members must be unbiased, of the same
    objective as ``of`` and pure. In a training all is fitted anew after ``epochs`` epochs.

    Claim: unbiased for the objective of its parts, where all of them are valid.
    Cost: that of all its parts; a fit takes 2·P draws of each, and the fits of the parts.
    Source: Geffner & Domke 2018 (*Using large ensembles of control variates for variational inference*), whose weights
    are one number a control variate for the whole gradient. Differences on the same noise as control variates: here.

    Attributes:
        of: $g_0$.
        ridge: λ, above 0.
        pilot: P.
        examples: Of a pilot minibatch, or all there are. Best is the size that is measured.
        epochs: Epochs of a training after which weights and members are fitted anew.
        members: Pairs of a name and an estimator, by name: the options with any other name. By default ``taylor``, a
            ``control-variate``, and ``model``, a ``quadratic-control-variate``, both of naive sampling.

    Example:
        >>> import vdbench
        >>> both = vdbench.get("ensemble-control-variate", of="local", shared="naive")
        >>> [name for name, _ in both.members]
        ['shared']
    """

    of: Estimator = field(default_factory=Naive)
    ridge: float = 0.01
    pilot: int = 16
    examples: int = 64
    epochs: int = 1
    members: tuple[tuple[str, Estimator], ...] = field(default_factory=_members)

    open_options: ClassVar[str] = "members"

    def __post_init__(self) -> None:
        """Refuse numbers out of range, and members whose difference has no mean of 0.

        Raises:
            InputError: With the member and why.
        """
        name = "ensemble-control-variate"
        for option in ("pilot", "examples", "epochs"):
            if getattr(self, option) < 1:
                raise InputError(
                    f"{name}: {option} must be at least 1, not {getattr(self, option)}."
                )
        if not 0 < self.ridge < float("inf"):
            raise InputError(f"{name}: ridge must be a finite number above 0, not {self.ridge}.")
        for where, part in (("of", self.of), *self.members):
            why = _why_not(part, self.of)
            if why:
                raise InputError(f"{name}, option {where}: {why}.")
        needs = self._needs()
        if len(needs) > 1 and not needs <= set(DERIVED):
            raise InputError(
                f"{name}: its parts are for the posteriors {' and '.join(sorted(needs))}, and no posterior is both; "
                "expected estimators that are valid for the same."
            )

    @property
    def _parts(self) -> tuple[Estimator, ...]:
        return (self.of, *(member for _, member in self.members))

    def _needs(self) -> set[str]:
        """Posteriors that parts restrict to; where masks are learned, what is valid for any other is no part."""
        found = {part.declaration.posteriors for part in self._parts}
        return found if LEARNED_BINARY in found else found - {"any"}

    @property
    def declaration(self) -> Declaration:
        """The widest of its parts: all their laws, and what holds for every part."""
        each = [part.declaration for part in self._parts]
        needs = self._needs()
        return replace(
            self.declared,
            objective=each[0].objective,
            laws=tuple(dict.fromkeys(law for d in each for law in d.laws)),
            posteriors="independent-normal" if len(needs) > 1 else next(iter(needs), "any"),
            objective_on_convolution=each[0].objective_on_convolution,
            unbiased_given_minibatch=all(d.unbiased_given_minibatch for d in each),
        )

    @property
    def draws_per_gradient(self) -> int:
        """The most of a part."""
        return max(part.draws_per_gradient for part in self._parts)

    @property
    def passes_together(self) -> int:
        """Those of all parts."""
        return sum(part.passes_together for part in self._parts)

    def examples_together(self, problem: Problem) -> int | None:
        """The fewest of a part."""
        each = [part.examples_together(problem) for part in self._parts]
        return min((count for count in each if count is not None), default=None)

    @property
    def costs_without_gradient(self) -> bool:
        """Whether a part does."""
        return any(part.costs_without_gradient for part in self._parts)

    @property
    def passes_each_weight(self) -> bool:
        """Whether a part does."""
        return any(part.passes_each_weight for part in self._parts)

    @property
    def refit_epochs(self) -> int:
        """The option ``epochs``, or the fewest of a part."""
        return min(n for n in (self.epochs, *(p.refit_epochs for p in self._parts)) if n)

    def passes_to_fit(self, state: Any) -> int:
        """Those of all parts."""
        return sum(p.passes_to_fit(s) for p, s in zip(self._parts, state["parts"], strict=True))

    def objective_on(self, problem: Problem) -> str:
        """That of ``of``."""
        return self.of.objective_on(problem)

    def need_problem(self, problem: Problem) -> None:
        """Refuse what a part refuses, and parts with different objectives there.

        Raises:
            CellError: With the parts.
        """
        for part in self._parts:
            part.need_problem(problem)
            theirs, own = part.objective_on(problem), self.of.objective_on(problem)
            if theirs != own:
                raise CellError(
                    f"estimator 'ensemble-control-variate': on problem '{problem.name}' '{part.declaration.name}' "
                    f"estimates the gradient of {theirs} and '{self.of.declaration.name}' that of {own}; expected "
                    "parts with the same objective."
                )

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """Draw all parts on the same noise.

        Raises:
            CellError: There is no state, or a part is not valid for the problem.
        """
        need_posterior(self, problem)
        if not state:
            raise CellError(
                "estimator 'ensemble-control-variate': it has weights and was given none; expected "
                "state=estimator.fit(problem, parameters, key)."
            )
        drawn = self._drawn(problem, parameters, batch, noise, state["parts"])
        return least_squares.less(drawn, state["weights"])

    def _drawn(
        self,
        problem: Problem,
        parameters: Parameters,
        batch: Batch,
        noise: Noise,
        states: list[Any],
    ) -> least_squares.Drawn:
        """The gradient of ``of``, and its differences from those of the members."""
        shared = Noise(Repeated(noise.source), noise.path)
        first, *others = (
            part(problem, parameters, batch, shared, states[k])
            for k, part in enumerate(self._parts)
        )
        differences = [
            {name: g - other.gradients[name] for name, g in first.gradients.items()}
            for other in others
        ]
        return first, differences

    def fit(self, problem: Problem, parameters: Parameters, key: Key) -> Any:
        """The states of all parts, and the weights of the members for every parameter.

        Raises:
            CellError: A part is not valid for the problem.
        """
        need_posterior(self, problem)
        states = [
            part.fit(problem, parameters, key / "part" / k) for k, part in enumerate(self._parts)
        ]
        own = not self.declaration.unbiased_given_minibatch
        size = min(self.examples, problem.examples)

        def pairs() -> Iterator[tuple[least_squares.Drawn, least_squares.Drawn]]:
            for place in (key / "pilot" / k for k in range(self.pilot)):
                one, two = (
                    self._drawn(
                        problem,
                        parameters,
                        gather(problem, minibatch(problem, size, place / (half if own else 0))),
                        anchor.kept_noise(problem, place / half),
                        states,
                    )
                    for half in range(2)
                )
                yield one, two

        return {"parts": states, "weights": least_squares.weights(pairs(), self.ridge)}

    def update(self, state: Any, gradient: Gradient) -> Any:
        """Update the states of the parts; the weights stay until the next fit."""
        each = zip(self._parts, state["parts"], strict=True)
        return {**state, "parts": [part.update(own, gradient) for part, own in each]}


def _why_not(part: Estimator, of: Estimator) -> str:
    """Why the difference of two estimators is no control variate; '' if it is."""
    if not isinstance(part, Estimator) or not hasattr(part, "declaration"):
        return f"expected an estimator, such as vdbench.get('local'), not {part!r}"
    declared, base = part.declaration, of.declaration
    if not declared.pure:
        return f"estimator '{declared.name}' draws noise of its own, which no other can share"
    if not declared.unbiased:
        return f"estimator '{declared.name}' declares a bias, which would be that of the sum"
    if not declared.laws:
        return f"estimator '{declared.name}' draws no noise"
    if declared.objective != base.objective:
        return (
            f"estimator '{declared.name}' estimates the gradient of {declared.objective}, and "
            f"'{base.name}' that of {base.objective}"
        )
    return ""
