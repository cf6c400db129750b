"""A mixture: each layer's pre-activations by the rule of an estimator of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from estimators.grouped import Grouped
from estimators.naive import Naive
from vdbench import (
    CellError,
    Estimator,
    InputError,
    Layer,
    Noise,
    Pathwise,
    Posterior,
    Problem,
    register,
)
from vdbench.errors import nearest
from vdbench.estimation.base import Declaration
from vdbench.estimation.validity import DERIVED

NORMAL = set(DERIVED)
"""Posteriors that estimators are derived for; independent normal weights are of each of these."""


@register(
    "per-layer",
    objective="elbo",
    unbiased=True,
    laws=("posterior",),
    independent_examples=False,
    version="1",
    posteriors="any",
)
@dataclass(frozen=True)
class PerLayer(Pathwise):
    r"""Each noisy layer is sampled by the rule of its own estimator, all in one pass.

    Formula: $b^{(l)} = r_l(x^{(l)}, \varepsilon^{(l)})$, $r_l$ the rule of layer $l$: ``naive``, ``local``,
    ``flipout``, ``grouped``, ``type-a``.

    Under each of these rules, the pre-activations of an example have the law that a weight sample gives them, whatever
    the layer's inputs are. The noise of different layers is independent, as the weights are. So an example's outputs
    have the same law under any mixture, its term of the objective keeps its expectation, and the gradient along the
    sampled path is unbiased. What differs is the noise that examples share, layer by layer. A typical use is
    ``local`` for dense layers and ``flipout`` for convolutions, where ``local`` has another objective.

    Options are names of layers, each with an estimator; ``default`` is for the layers that are not named. Every name
    must be that of a noisy layer of the problem. Only pathwise estimators of the ELBO that sample pre-activations take
    part. If all parts are the same estimator, the draws are equal to that estimator's.

    If a layer's weights meet several places of an example, ``local`` gives every place separate noise. With ``local``
    there in all such layers, the objective is ``elbo-local-noise``. With ``local`` in some of them only, it is another
    objective again, and its name contains these layers.

    Claim: unbiased for the ELBO, unless a part samples pre-activations where places of an example share weights.
    Cost: that of each layer's estimator.
    Source: derived here.

    Attributes:
        default: The estimator of the layers that are not named.
        layers: Pairs of a layer's name and its estimator, by name: the options with any other name.

    Example:
        >>> import vdbench
        >>> mixed = vdbench.get("per-layer", default="local", conv1="flipout")
        >>> mixed.declaration.independent_examples
        False
    """

    default: Estimator = field(default_factory=Naive)
    layers: tuple[tuple[str, Estimator], ...] = ()

    open_options: ClassVar[str] = "layers"

    def __post_init__(self) -> None:
        """Refuse parts whose rules cannot be mixed.

        Raises:
            InputError: A part is not pathwise, estimates another objective or draws its own noise; or two parts are
                for posteriors that exclude each other.
        """
        for where, part in self._parts():
            why = _why_not(part)
            if why:
                raise InputError(f"per-layer: {where}: estimator {why}.")
        needs = self._needs()
        if len(needs) > 1 and not needs.keys() <= NORMAL:
            (one, a), (other, b) = list(needs.items())[:2]
            raise InputError(
                f"per-layer: {a} is for {one} posteriors and {b} for {other} ones, and no posterior is both; expected "
                "estimators that are valid for the same."
            )

    def _parts(self) -> Iterator[tuple[str, Estimator]]:
        yield "default", self.default
        for name, part in self.layers:
            yield f"layer '{name}'", part

    def _needs(self) -> dict[str, str]:
        """Posteriors that a part restricts to, each with the first that does."""
        found: dict[str, str] = {}
        for where, part in self._parts():
            needs = part.declaration.posteriors
            if needs != "any":
                found.setdefault(needs, f"'{part.declaration.name}' at {where}")
        return found

    def _posteriors(self) -> str:
        """Those that all parts are valid for."""
        needs = self._needs()
        return "independent-normal" if len(needs) > 1 else next(iter(needs), "any")

    @property
    def declaration(self) -> Declaration:
        """The widest of its parts: all their laws, and what holds for every part."""
        each = [part.declaration for _, part in self._parts()]
        wide = [d.objective_on_convolution for d in each if d.objective_on_convolution]
        return replace(
            self.declared,
            laws=tuple(dict.fromkeys(law for d in each for law in d.laws)),
            independent_examples=all(d.independent_examples for d in each),
            posteriors=self._posteriors(),
            objective_on_convolution=wide[0] if wide else "",
        )

    def rule(self, layer: Layer) -> Pathwise:
        """The estimator of a layer."""
        part = dict(self.layers).get(layer.name, self.default)
        assert isinstance(part, Pathwise)
        return part

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        """By the layer's own rule."""
        return self.rule(layer).preactivation(layer, x, q, noise)

    def objective_on(self, problem: Problem) -> str:
        """``elbo``, or that of parts that give every place separate noise; with their layers' names if not of all."""
        shared = [layer for layer in problem.layers if layer.name in problem.shared]
        apart = {
            x.name: d.objective_on_convolution
            for x in shared
            if (d := self.rule(x).declaration).objective_on_convolution
        }
        if not apart:
            return self.declared.objective
        names = "+".join(sorted(set(apart.values())))
        if len(apart) == len(shared) and len(set(apart.values())) == 1:
            return names
        return f"{names}({', '.join(apart)})"

    def need_problem(self, problem: Problem) -> None:
        """Refuse names that are not those of its noisy layers, and groups where weights can only be sampled whole.

        Raises:
            CellError: With the name of the layer.
        """
        known = [layer.name for layer in problem.layers]
        for name, _ in self.layers:
            if name not in known:
                raise CellError(
                    f"estimator 'per-layer' names layer '{name}', and problem '{problem.name}' has no noisy layer of "
                    f"that name.{nearest(name, known)}"
                )
        if not problem.whole:
            return
        for layer in problem.layers:
            if isinstance(self.rule(layer), Grouped):
                raise CellError(
                    f"estimator 'per-layer' has 'grouped' at layer '{layer.name}', which passes one group after the "
                    f"other through problem '{problem.name}', some of whose weights can only be sampled whole; "
                    "expected naive or local there."
                )


def _why_not(part: Estimator) -> str:
    """Why an estimator is no part of a mixture; '' if it is."""
    if not isinstance(part, Estimator) or not hasattr(part, "declaration"):
        return f"expected, such as vdbench.get('local'), not {part!r}"
    declared = part.declaration
    name = f"'{declared.name}'"
    if isinstance(part, PerLayer):
        return f"{name} is a mixture itself; expected its parts, each at its layer"
    own = type(part).__call__ is not Pathwise.__call__ and not isinstance(part, Grouped)
    if not isinstance(part, Pathwise) or own:
        return (
            f"{name} does not sample one layer's pre-activations in a pass that it shares with others; expected a "
            "pathwise one, such as naive, local, flipout, grouped or type-a"
        )
    if not declared.pure:
        return f"{name} draws noise of its own, which other layers cannot share a pass with"
    if declared.objective != "elbo" or not declared.unbiased:
        return (
            f"{name} estimates the gradient of {declared.objective}"
            f"{'' if declared.unbiased else ' with a bias'}, and a mixture of it with others would be the gradient of "
            "neither objective; expected an unbiased estimator of elbo"
        )
    return ""
