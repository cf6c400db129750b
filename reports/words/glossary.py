"""What the terms of a report mean, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.results.groups import FewExamples

if TYPE_CHECKING:
    import pandas as pd

COORDINATES = {
    "mean-log_variance": "(μ, log σ²), with roles mean and scale",
    "theta-log_alpha": "(θ, log α), with roles theta and alpha",
    "binary-dropout": "θ of binary dropout, with role theta",
    "learned-binary": "(θ, logit) of learned masks, with roles theta and logit",
    "point": "θ without noise, with role theta",
}

ROLES = {
    "mean": "the means μ",
    "scale": "the scales log σ²",
    "theta": "the means θ",
    "alpha": "the noise log α",
    "logit": "the logits",
    "bias": "the biases of the layers",
    "weight": "the deterministic parameters",
}
"""What the gradient of a role is taken in, by the role's name."""

VARIANCE = (
    "Of one component of the minibatch gradient, averaged over the parameters of a layer that "
    "have the same role; unit gradient². 'All layers' averages over those of all layers."
)
PARTS = (
    "The noise part comes from the estimator's own random draws, given the minibatch; the data "
    "part from which minibatch was drawn; the total is their sum. All three are estimated without "
    "bias from units of two independent minibatches with two independent draws each, so that an "
    "estimate of the data part can come out below 0."
)
DETERMINISTIC = (
    "An estimator without weight noise: its variance is that of another network's minibatch "
    "gradient, not the data part of the others. It is shown for scale, and never subtracted."
)
INTERVALS = (
    "Each at {level}, and made to hold although a measurement stops as soon as it is precise "
    "enough. A cell goes on until its intervals are as narrow as the suite asks (for noise and "
    "total), or until its bound of draws; a zero variance stops at once."
)
VERDICTS = (
    "Ratios are to {baseline}, estimated in pairs on the same minibatches. A verdict on variance "
    "needs the whole interval of a ratio on one side of 1, at a level adjusted for the number of "
    "pairs; otherwise it is UNCLEAR, and the estimators count as tied. Only "
    "unbiased estimators of the baseline's objective are ranked: not one that declares a bias, nor "
    "one whose relative bias has an interval above 0 in any role over all layers, at a level "
    "adjusted for the number of estimators and roles."
)
TIME = (
    "Measured in a pass of its own, after warm-up, the estimators taking turns; it holds for this "
    "machine only. Variance × seconds is what precision costs: at half of it, the same precision "
    "takes half of the time. Intervals of absolute seconds cover the scatter within one pass, not "
    "the drift from run to run; ratios are paired round by round."
)
FEW_EXAMPLES = (
    "Marked ‡: the noise part of a dear estimator whose noise is independent from example to "
    "example was measured on a few examples of each minibatch and scaled to all of them, which "
    "leaves it unbiased. Its data part and mean are those of another estimator in the same units, "
    "because all unbiased estimators of one objective share them; its total is the sum of both "
    "parts. Its time and memory are those of whole gradients."
)
PUBLISHED = (
    "Compare the order of estimators and their ratios, not absolute values, which depend on "
    "training details that publications leave out."
)


def definitions(frame: pd.DataFrame, level: str, baseline: str) -> list[tuple[str, str]]:
    """Define the terms of a report.

    Args:
        frame: The rows reported on.
        level: Level of the intervals, as text.
        baseline: What ratios are taken to.

    Returns:
        Terms, and what they mean here.
    """
    coordinates = "; ".join(COORDINATES.get(x, x) for x in values(frame, "parameterization"))
    objective = " and ".join(values(frame, "objective")) or "not recorded"
    return [
        ("Variance.", VARIANCE),
        ("Total, noise part, data part.", PARTS),
        *([("Noise from few examples.", FEW_EXAMPLES)] if few_examples(frame) else []),
        ("Roles.", roles(coordinates or "not recorded")),
        ("Objective.", objective_words(objective)),
        ("The deterministic estimator.", DETERMINISTIC),
        ("Intervals.", INTERVALS.format(level=level)),
        ("Ratios and verdicts.", VERDICTS.replace("{baseline}", baseline)),
        ("Time.", TIME),
        ("Published figures.", PUBLISHED),
    ]


def few_examples(frame: pd.DataFrame) -> bool:
    """Whether any figure was measured on few examples of each minibatch."""
    return any("examples" in detail for detail in frame["detail"])


def scaled_words(found: list[FewExamples]) -> str:
    """Say how a noise part was measured on few examples, at one size or at several."""
    counts = list(dict.fromkeys(f"{one.examples:,} of {one.batch_size:,}" for one in found))
    return (
        f"noise measured on {', '.join(counts)} examples of each minibatch and scaled to all; "
        f"data part and mean are those of {found[0].data_from}"
    )


def values(frame: pd.DataFrame, column: str) -> list[str]:
    """Return the different values of a column, without the empty one."""
    return sorted(set(frame[column]) - {""})


def role_name(role: str) -> str:
    """Name a role; the bias of a layer so that it is not taken for that of an estimator."""
    return "layer bias" if role == "bias" else role


def in_role(role: str) -> str:
    """Say what the gradient of a role is taken in, with the role's name."""
    return f"in {ROLES[role]} ({role_name(role)})" if role in ROLES else f"in {role}"


def roles(coordinates: str) -> str:
    """Say in which coordinates the gradient was taken."""
    return (
        f"Coordinates {coordinates}, are those of the noisy weights, and the only ones ranked; "
        "'layer bias' is the bias that a layer adds, 'weight' another parameter without noise. "
        "Roles are never merged, and variances in different coordinates cannot be compared."
    )


def objective_words(objective: str) -> str:
    """Say of what the gradient was taken."""
    return (
        f"Gradient of the {objective}. The likelihood part is summed over a minibatch of M "
        "examples and scaled by N / M, N being the size of the training set."
    )
