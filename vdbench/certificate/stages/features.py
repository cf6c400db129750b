"""What the problems of a certificate exercised, feature by feature, and what of the list they did not.

A feature has parts: those that every certificate is to exercise are in `FEATURES`. They are read off the problems
themselves, and not off what was meant to be drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from vdbench.certificate.reference_problems import Stage
from vdbench.certificate.stages.recipes import CORRELATED, RANKED, SYMMETRIC
from vdbench.problems.layers import Convolution, Layer
from vdbench.problems.likelihoods import Categorical

Parts = Iterator[str]


@dataclass(frozen=True)
class Exercised:
    """One feature of a certificate.

    Attributes:
        feature: Its name.
        parts: Those that problems had on which the mean was compared, with the number of such problems.
        refused: Parts of problems that the estimator refused, and no other had.
        missing: Parts that a certificate is to exercise, and this one did not.
        beyond: Of a feature that is a number, what no problem had: all above the largest; else empty.
    """

    feature: str
    parts: dict[str, int]
    refused: tuple[str, ...]
    missing: tuple[str, ...]
    beyond: str = ""


def _depth(at: Stage) -> Parts:
    count = len(at.problem.layers)
    yield "1" if count == 1 else "2 or 3" if count < 4 else "4 to 6" if count < 7 else "above 6"


def _inputs(at: Stage) -> Parts:
    for layer in at.problem.layers:
        count = layer.fan_in
        yield "up to 4" if count < 5 else "5 to 15" if count < 16 else "16 to 33"


def _outputs(at: Stage) -> Parts:
    for layer in at.problem.layers:
        yield "up to 4" if layer.outputs < 5 else "5 to 8" if layer.outputs < 9 else "9 to 15"


def _examples(at: Stage) -> Parts:
    count = len(at.batch.inputs)
    bounds = ((1, "1"), (7, "2 to 7"), (31, "8 to 31"), (63, "32 to 63"), (143, "64 to 143"))
    yield next((said for most, said in bounds if count <= most), "above 143")


def _scale(at: Stage) -> Parts:
    yield "whole" if at.problem.examples % len(at.batch.inputs) == 0 else "not whole"


def _targets(at: Stage) -> Parts:
    if isinstance(at.problem.likelihood, Categorical):
        classes = at.problem.data.classes
        yield "2 classes" if classes == 2 else "3 to 10 classes" if classes < 11 else "more"
    else:
        outputs = at.batch.targets.shape[-1] if at.batch.targets.dim() > 1 else 1
        yield "one number" if outputs == 1 else "several numbers"


def _bias(at: Stage) -> Parts:
    for layer in at.problem.layers:
        yield "with" if f"{layer.name}.bias" in at.parameters else "without"


def _coordinates(at: Stage) -> Parts:
    form = at.problem.parameterization
    per = getattr(form, "per", "")
    sharing = ", shared by outputs" if form.sharing == "inputs" else ""
    yield f"{form.name}{f' per {per}' if per else ''}{sharing}"


def _alpha(at: Stage) -> Parts:
    for layer in at.problem.layers:
        logs = at.problem.posterior(layer, at.parameters).log_ratio().exp()
        for bounded, said in ((logs < 0.01, "below 0.01"), (logs > 10, "above 10")):
            if bool(bounded.any()):
                yield said
        if bool(((logs >= 0.01) & (logs <= 10)).any()):
            yield "0.01 to 10"


def _kept(at: Stage) -> Parts:
    for name, value in at.parameters.items():
        if name.endswith("logit"):
            kept = value.sigmoid()
            for found, said in ((kept < 0.2, "below 0.2"), (kept > 0.8, "above 0.8")):
                if bool(found.any()):
                    yield said
            if bool(((kept >= 0.2) & (kept <= 0.8)).any()):
                yield "0.2 to 0.8"


def _sigma(at: Stage) -> Parts:
    for layer in at.problem.layers:
        scale = at.problem.posterior(layer, at.parameters).scale.abs()
        if bool((scale < 0.05).any()):
            yield "below 0.05"
        if bool(((scale >= 0.05) & (scale <= 1)).any()):
            yield "0.05 to 1"
        if bool((scale > 1).any()):
            yield "above 1"


def _kernels(at: Stage) -> Iterator[Convolution]:
    return (layer for layer in at.problem.layers if isinstance(layer, Convolution))


def _axes(sizes: Sequence[int]) -> Parts:
    for size, axis in zip(sizes, ("vertical", "horizontal", "third axis"), strict=False):
        if size > 1:
            yield axis


def _kernel(at: Stage) -> Parts:
    for layer in _kernels(at):
        yield from _axes(layer.weight_shape[2:])


def _stride(at: Stage) -> Parts:
    for layer in _kernels(at):
        yield from _axes(layer.stride)


def _dilation(at: Stage) -> Parts:
    for layer in _kernels(at):
        yield from _axes(layer.dilation)


def _padding(at: Stage) -> Parts:
    for layer in _kernels(at):
        if isinstance(layer.padding, str):
            yield layer.padding
        else:
            yield "numbers" if any(layer.padding) else "none"


def _groups(at: Stage) -> Parts:
    for layer in _kernels(at):
        yield "1" if layer.groups == 1 else "several"


def _places(at: Stage) -> Parts:
    for layer in at.problem.layers:
        several = at.problem.uses[layer.name].places > 1
        yield f"{_kind(layer)}, {'several' if several else 'one'}"


def _kind(layer: Layer) -> str:
    return "convolution" if isinstance(layer, Convolution) else "dense"


def _between(at: Stage) -> Parts:
    for module in at.problem.module.modules():
        if isinstance(module, nn.LayerNorm):
            yield "LayerNorm"
        elif isinstance(
            module, nn.ReLU | nn.Tanh | nn.GELU | nn.SiLU | nn.Softplus | nn.Sigmoid | nn.ELU
        ):
            yield "a bend"


DENSE = {
    "noisy layers": (_depth, ("2 or 3", "4 to 6")),
    "inputs of a layer": (_inputs, ()),
    "outputs of a layer": (_outputs, ("up to 4", "9 to 15")),
    "examples of the minibatch, M": (_examples, ("2 to 7", "8 to 31", "64 to 143")),
    "N/M": (_scale, ("whole", "not whole")),
    "targets": (_targets, ("several numbers",)),
    "bias": (_bias, ("with", "without")),
    "places of an example": (_places, ("dense, one", "dense, several", "convolution, several")),
    "between layers": (_between, ("LayerNorm",)),
    "kernel above 1": (_kernel, ("vertical", "horizontal")),
    "stride above 1": (_stride, ("vertical", "horizontal")),
    "dilation above 1": (_dilation, ("vertical", "horizontal")),
    "padding": (_padding, ("numbers", "same")),
    "groups": (_groups, ("1", "several")),
    "coordinates": (_coordinates, ()),
}

NORMAL = {
    "noisy layers": ("1",),
    "examples of the minibatch, M": ("32 to 63",),
    "targets": ("3 to 10 classes",),
    "between layers": ("a bend",),
    "α = σ²/μ²": ("below 0.01", "0.01 to 10", "above 10"),
    "σ": ("below 0.05", "0.05 to 1", "above 1"),
    "coordinates": (
        "mean-log_variance",
        *(f"theta-log_alpha per {per}" for per in ("layer", "input", "output", "weight")),
    ),
}

FAMILIES = {
    kind: {
        **NORMAL,
        "coordinates": (*NORMAL["coordinates"], *(form.name for form in (RANKED, *forms))),
    }
    for kind, forms in {
        "independent-normal": (),
        "sign-symmetric": SYMMETRIC,
        "normal-preactivations": CORRELATED,
        "any": (*SYMMETRIC, *CORRELATED),
    }.items()
}

ROWS = {
    "α = σ²/μ²": ("below 0.01", "0.01 to 10", "above 10"),
    "coordinates": tuple(
        f"theta-log_alpha per {per}, shared by outputs" for per in ("layer", "input")
    ),
}

MASKS = {
    "keep probability": ("below 0.2", "0.2 to 0.8", "above 0.8"),
    "coordinates": tuple(
        f"learned-binary per {per}, shared by outputs" for per in ("layer", "input")
    ),
}

READ: dict[str, Callable[[Stage], Parts]] = {
    **{name: read for name, (read, _) in DENSE.items()},
    "α = σ²/μ²": _alpha,
    "σ": _sigma,
    "keep probability": _kept,
}
"""Every feature, with what reads its parts off a problem."""

REQUIRED: dict[str, dict[str, tuple[str, ...]]] = {
    kind: {name: (*DENSE.get(name, (None, ()))[1], *more.get(name, ())) for name in READ}
    for kind, more in {
        **FAMILIES,
        "row-shared": ROWS,
        "learned-binary": MASKS,
    }.items()
}
"""By kind of posterior, the parts of every feature that a certificate is to exercise."""

BEYOND = (
    "embeddings", "recurrent layers and attention", "transposed, one- and three-dimensional convolutions",
    "layers called several times", "likelihoods other than Gaussian and softmax",
)  # fmt: skip
"""What no drawn problem has."""

LARGEST: dict[str, Callable[[Stage], int]] = {
    "noisy layers": lambda at: len(at.problem.layers),
    "inputs of a layer": lambda at: max(layer.fan_in for layer in at.problem.layers),
    "outputs of a layer": lambda at: max(layer.outputs for layer in at.problem.layers),
    "examples of the minibatch, M": lambda at: len(at.batch.inputs),
}
"""Features that are numbers, with the largest of a problem."""


def parts(at: Stage) -> set[str]:
    """All parts of features that a problem has, as text."""
    return {f"{feature}: {part}" for feature, read in READ.items() for part in read(at)}


def of_one(at: Stage) -> tuple[Exercised, ...]:
    """Every feature of one problem, of which none is required."""
    return tuple(
        Exercised(feature, dict.fromkeys(read(at), 1), (), (), _beyond(feature, [at]))
        for feature, read in READ.items()
    )


def exercised(
    kind: str, compared: Sequence[Stage], refused: Sequence[Stage]
) -> tuple[Exercised, ...]:
    """Every feature, with the parts that the problems had.

    Args:
        kind: Of posterior, as an estimator declares it.
        compared: Problems on which the mean was compared.
        refused: Problems that the estimator refused, with a reason.
    """
    found = []
    for feature, read in READ.items():
        parts: dict[str, int] = {}
        for at in compared:
            for part in dict.fromkeys(read(at)):
                parts[part] = parts.get(part, 0) + 1
        only = {part for at in refused for part in read(at)} - set(parts)
        missing = [p for p in REQUIRED[kind][feature] if p not in parts and p not in only]
        beyond = _beyond(feature, compared)
        found.append(Exercised(feature, parts, tuple(sorted(only)), tuple(missing), beyond))
    return tuple(found)


def _beyond(feature: str, compared: Sequence[Stage]) -> str:
    if feature not in LARGEST or not compared:
        return ""
    return f"above {max(map(LARGEST[feature], compared))}"
