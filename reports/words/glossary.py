"""The glossary: what the terms of a report mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.results.groups import FewExamples
from vdbench.statistics.verdicts import TOLERANCE

if TYPE_CHECKING:
    import pandas as pd

COORDINATES = {
    "mean-log_variance": "(μ, log σ²), named mean and scale",
    "theta-log_alpha": "(θ, log α), named theta and alpha",
    "binary-dropout": "θ of binary dropout, named theta",
    "low-rank-scale": "(μ, log u, log v), σ = Σ u vᵀ, named mean and factor",
    "uniform": "(μ, log σ²) of uniform noise, named mean and scale",
    "truncated-normal": "(μ, log σ²) of truncated normal noise, named mean and scale",
    "radial": "(μ, log σ²) of radial noise, named mean and scale",
    "matrix-normal": "(μ, triangular factors of the covariances), named mean and factor",
    "low-rank-plus-diagonal": "(μ, log d², V), named mean, scale and factor",
    "learned-binary": "(θ, logit) of learned masks, named theta and logit",
    "point": "θ without noise, named theta",
}

ROLES = {
    "mean": "the means μ",
    "scale": "the scales log σ²",
    "factor": "the factors of σ or of a covariance",
    "theta": "the means θ",
    "alpha": "the noise log α",
    "logit": "the logits",
    "bias": "the biases of the layers",
    "weight": "the weights without noise",
}
"""What each kind of parameter is, by its name in the column ``role``."""

VARIANCE = (
    "Variance of one component of the minibatch gradient, averaged over all parameters of the same kind in a layer. "
    "Its unit is gradient². 'All layers' averages over the parameters of all layers."
)
PARTS = (
    "The noise part of a variance comes from the random draws of the estimator, for a given minibatch. The data part "
    "comes from the choice of the minibatch. The total is their sum. All three are estimated without bias, so an "
    "estimate of the data part can be negative. Its interval ends at 0, or at the estimate where that is negative."
)
UNIT = (
    "The smallest piece of work that estimates a variance without bias: two independent minibatches with two "
    "independent draws of noise each, which takes four gradients. n counts units, timing rounds or training seeds."
)
SIZES = (
    "M is the number of examples in a minibatch ('batch' in headings), S the number of noise samples that one gradient "
    "is averaged over, N the number of training examples."
)
DETERMINISTIC = (
    "An estimator without weight noise. Its variance is that of the minibatch gradient of a network without noise, "
    "which is not the data part of the other estimators. It is for reference only and is not subtracted from anything."
)
INTERVALS = (
    "Confidence intervals at {level}. A measurement stops when its intervals for noise part and total are as narrow as "
    "the suite asks for, or at max_units (status 'bounded', marked †). Their coverage where runs stop is measured: see "
    "docs/results/coverage.md. An interval without an end means too few units."
)
RATIOS = (
    "Ratios are relative to the baseline, {baseline}. They are paired: both estimators use the same "
    "minibatches."
)
RANKED = (
    "Only unbiased estimators of the baseline's objective are ranked. An estimator is not ranked if it is declared "
    "biased, or if its relative bias over all layers is significantly above 0 for any kind of parameter (adjusted for "
    "the number of estimators and kinds of parameters)."
)
VERDICTS = (
    "Significantly lower or higher: the interval of the ratio lies wholly below or above 1, at a level adjusted for "
    "the number of comparisons. Equivalent within ±{tolerance} %: the interval lies within that tolerance of 1. "
    "Inconclusive: neither; more units could decide."
)
TIME = (
    "Measured in a separate pass after warm-up, with the estimators interleaved. Times hold for this machine only. "
    "Intervals of absolute times cover the scatter within one pass, not the drift between runs. Ratios are "
    "paired by round."
)
PRODUCT = (
    "Variance × time per gradient is the inverse of efficiency: with half of it, the same precision takes half of the "
    "time."
)
BIAS = (
    "SNR is the length of the mean gradient divided by its noise. Relative bias is the distance of the mean gradient "
    "from that of the reference, divided by the length of the latter."
)
NATS = (
    "The ELBO (evidence lower bound) and log-likelihoods are in nats: they use the natural logarithm. NLL is the "
    "negative log-likelihood, ECE the expected calibration error."
)
FEW_EXAMPLES = (
    "Marked ‡. The noise part of an expensive estimator was measured on a subset of each minibatch and scaled to all "
    "examples. This is unbiased because the noise of its examples is independent. Its data part and mean are those of "
    "another unbiased estimator of the same objective, measured in the same units. Its time and memory are those of "
    "whole gradients."
)
PREACTIVATIONS = (
    "Marked ‡. Separate weight samples have the noise of local plus the mean variance of their gradient given the "
    "pre-activations. The second term is computed and not sampled, on all examples. Data part and mean are those of "
    "local, measured in the same units. Time and memory are those of whole gradients."
)
PUBLISHED = (
    "Compare the order of the estimators and their ratios. Absolute values depend on details of training that "
    "publications leave out."
)


NOISE = {
    "torch": (
        "Every draw is made by torch's generator, seeded with the draw's address: seed, problem, checkpoint, minibatch "
        "size, unit, draw and layer. Another kind of device has other numbers."
    ),
    "philox": (
        "Every draw is made by counter (Philox-4x32-10) from its address: seed, problem, checkpoint, minibatch size, "
        "unit, draw and layer. Every device has the same numbers, in every precision, up to rounding."
    ),
}


def definitions(frame: pd.DataFrame, level: str, baseline: str) -> list[tuple[str, str]]:
    """Define the terms of a report.

    Args:
        frame: The rows reported on.
        level: Level of the intervals, as text.
        baseline: What ratios are relative to.

    Returns:
        Terms, and what they mean here.
    """
    coordinates = "; ".join(COORDINATES.get(x, x) for x in values(frame, "parameterization"))
    objective = " and ".join(values(frame, "objective")) or "not recorded"
    return [
        ("Variance.", VARIANCE),
        ("Total, noise part, data part.", PARTS),
        ("Unit, n.", UNIT),
        ("M, S, N.", SIZES),
        *([("Noise from a subset of examples.", FEW_EXAMPLES)] if few_examples(frame) else []),
        *([("Noise from pre-activations.", PREACTIVATIONS)] if by_preactivations(frame) else []),
        ("Kinds of parameters.", kinds(coordinates or "not recorded")),
        ("Objective.", objective_words(objective)),
        ("The deterministic estimator.", DETERMINISTIC),
        ("Intervals.", INTERVALS.format(level=level)),
        ("Ratios.", RATIOS.replace("{baseline}", baseline)),
        ("Ranked.", RANKED),
        ("Verdicts.", VERDICTS.format(tolerance=f"{100 * TOLERANCE:g}")),
        ("Time.", TIME),
        ("Variance × time.", PRODUCT),
        ("SNR and relative bias.", BIAS),
        ("ELBO, nats, NLL, ECE.", NATS),
        ("Published values.", PUBLISHED),
    ]


def few_examples(frame: pd.DataFrame) -> bool:
    """Whether any figure was measured on few examples of each minibatch."""
    return any("examples" in detail for detail in frame["detail"])


def by_preactivations(frame: pd.DataFrame) -> bool:
    """Whether any figure has its noise from pre-activations."""
    return any("conditional_on" in detail for detail in frame["detail"])


def scaled_words(found: list[FewExamples]) -> str:
    """Say how a noise part was measured on few examples, or by pre-activations, at one size or at several."""
    if not found[0].examples:
        return (
            f"noise is that of {found[0].data_from} plus the conditional variance given its pre-activations "
            f"(Rao–Blackwell); data part and mean are those of {found[0].data_from}"
        )
    counts = list(dict.fromkeys(f"{one.examples:,} of {one.batch_size:,}" for one in found))
    return (
        f"noise measured on {', '.join(counts)} examples of each minibatch and scaled to all; "
        f"data part and mean are those of {found[0].data_from}"
    )


def values(frame: pd.DataFrame, column: str) -> list[str]:
    """Return the different values of a column, without the empty one."""
    return sorted(set(frame[column]) - {""})


def role_name(role: str) -> str:
    """Name a kind of parameter; the bias of a layer so that it is not taken for that of an estimator."""
    return "layer bias" if role == "bias" else role


def parameters(role: str) -> str:
    """Say which parameters are meant, with the name of their kind: ``means μ (mean)``."""
    return f"{ROLES[role].removeprefix('the ')} ({role_name(role)})" if role in ROLES else role


def with_respect(role: str) -> str:
    """Say what a gradient is taken with respect to."""
    return f"with respect to {'the ' * (role in ROLES)}{parameters(role)}"


def kinds(coordinates: str) -> str:
    """Say in which coordinates the gradient was taken."""
    return (
        f"Gradients are taken with respect to the parameters of the noisy weights, {coordinates}. Only these are "
        "ranked. 'layer bias' is the bias that a layer adds, 'weight' any other parameter without noise. "
        "Kinds of parameters are never merged (column 'role' of the CSV files). Variances in different coordinates "
        "cannot be compared."
    )


def objective_words(objective: str) -> str:
    """Say of what the gradient was taken."""
    return (
        f"Gradient of the {objective}. The likelihood part is summed over the M examples of a minibatch and scaled by "
        "N / M."
    )
