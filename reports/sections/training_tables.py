"""Tables of whole trainings: what they gave, paired differences, sparsity."""

from __future__ import annotations

from reports.document import Table
from reports.results.log_alpha import digits
from reports.results.trainings import Trainings
from reports.sections.table_parts import drop_empty
from reports.words.missing_test import without_test
from reports.words.numbers import percent, show, show_seconds, span

FINAL = {
    "test.error.mean_weights": "error, mean weights (%)",
    "test.error": "error, samples (%)",
    "test.nll.mean_weights": "NLL, mean weights",
    "test.nll": "NLL, samples",
    "test.ece.mean_weights": "ECE, mean weights (%)",
    "test.ece": "ECE, samples (%)",
    "training.elbo": "ELBO (nats)",
    "training.kl": "KL (nats)",
    "training.epochs": "epochs",
    "training.seconds": "training",
}
COMPARED = {
    "test.error.mean_weights": "error, mean weights (points)",
    "test.error": "error, samples (points)",
    "test.nll.mean_weights": "NLL, mean weights",
    "test.nll": "NLL, samples",
    "test.ece.mean_weights": "ECE, mean weights (points)",
    "test.ece": "ECE, samples (points)",
}


def final_table(found: Trainings) -> Table:
    """Build the table of what each training gave on the test set."""
    columns = {metric: found.finals(metric) for metric in FINAL}
    rows = []
    for key in found.keys:
        cells = [
            show_seconds(figures.get(key))
            if metric == "training.seconds"
            else show(figures.get(key))
            for metric, figures in columns.items()
        ]
        rows.append([key[0], key[1], *cells])
    seeds = span(e.n for e in columns["training.elbo"].values())
    none = without_test(found.run.info, (problem for problem, _ in found.keys))
    tested = any(figures for metric, figures in columns.items() if metric.startswith("test."))
    said = (
        f"{'Test set, at' if tested else 'At'} the end of training or at the best validated epoch. "
        f"Means over training seeds ({seeds}), "
        f"Student intervals at {percent(found.run.level)}. NLL in nats per example; ECE over 15 bins of equal width; "
        f"ELBO of the training set with the KL at weight 1, whatever weight was used in training.{none}"
    )
    return drop_empty(Table(["problem", "estimator", *FINAL.values()], rows, said, stacked=True))


def difference_table(found: Trainings) -> Table:
    """Build the table of differences to the baseline problem, at the adjusted level."""
    columns = {m: found.finals(f"adjusted.difference.{m}") for m in COMPARED}
    rows = [
        [found.name(key), *(show(figures.get(key), 0) for figures in columns.values())]
        for key in found.keys
        if any(key in figures for figures in columns.values())
    ]
    levels = {round(e.level, 4) for figures in columns.values() for e in figures.values()}
    level = percent(min(levels)) if levels else ""
    said = (
        f"Difference to {found.base}, paired by seed; below 0 is better. Intervals at {level}, so that those of each "
        f"metric hold together at {percent(found.run.level)} (Bonferroni)."
    )
    return drop_empty(Table(["problem", *COMPARED.values()], rows, said, stacked=True))


def noise_table(found: Trainings) -> Table:
    """Build the table of the noise that each layer's weights have at the end."""
    rows = []
    for key in found.keys:
        for layer in found.layers("alpha.log_median", key):
            median = found.finals("alpha.log_median", layer).get(key)
            if median is not None and median.measured:
                rows.append([found.name(key), layer, show(median), show(digits(median), 0)])
    said = (
        "Median of log α = log σ²/μ² over a layer's weights, and the significant digits of a weight that remain under "
        "such noise, −log₁₀ √α: none at α = 1, one at α = 0.01. "
        f"Means over training seeds, intervals at {percent(found.run.level)}."
    )
    columns = ["problem", "layer", "median log α", "significant digits"]
    return drop_empty(Table(columns, rows, said, folded=len(rows) > 12))


RECIPE = {
    "epochs": "epochs",
    "batch_size": "minibatch size M",
    "learning_rate": "learning rate",
    "noise_rate": "learning rate of noise (×)",
    "schedule": "schedule",
    "kl_weight": "KL weight",
    "warm_up": "KL warm-up (epochs)",
    "log_alpha_bounds": "bounds of log α",
    "validation": "held out",
    "patience": "patience (epochs)",
}


def recipe_table(found: Trainings) -> Table:
    """Build the table of how each problem was trained."""
    suite = found.run.info.get("suite") or {}
    common = (suite.get("measures") or {}).get("training") or {}
    own = {p.get("name"): p.get("training") or {} for p in suite.get("problems") or []}
    rows = []
    for problem in dict.fromkeys(problem for problem, _ in found.keys):
        spec = {**common, **own.get(problem, {})}
        rows.append([problem, *(_setting(spec.get(key)) for key in RECIPE)])
    said = "Training of each problem: Adam, on the gradient of the mean over examples."
    return drop_empty(Table(["problem", *RECIPE.values()], rows, said, folded=len(rows) > 6))


def _setting(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        low, high = ("none" if end is None else f"{end:g}" for end in value)
        return f"{low} to {high}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def sparsity_table(found: Trainings) -> Table:
    """Build the table of what is pruned, layer by layer."""
    rows = []
    compression, error = found.finals("sparsity.compression"), found.finals("sparsity.error")
    whole = found.finals("test.error.mean_weights")
    for key in compression:
        layers = [layer for layer in found.layers("sparsity.share", key) if layer != "all"]
        shares = [
            f"{layer} {show(found.finals('sparsity.share', layer).get(key))}" for layer in layers
        ]
        total = found.finals("sparsity.share").get(key)
        rows.append([found.name(key), "; ".join(shares), show(total), show(compression[key]),
                     show(error.get(key)), show(whole.get(key))])  # fmt: skip
    measure = ((found.run.info.get("suite") or {}).get("measures") or {}).get("training") or {}
    said = (
        f"Weights with log α ≥ {measure.get('prune')} are set to 0 (unless the problem says otherwise). "
        "Compression: number of noisy weights divided by the number kept; biases are not counted. Errors with mean "
        f"weights. Intervals at {percent(found.run.level)}."
    )
    columns = ["problem", "pruned by layer (%)", "pruned (%)", "compression (×)", "error, pruned (%)",
               "error, not pruned (%)"]  # fmt: skip
    return drop_empty(Table(columns, rows, said, folded=len(rows) > 12))
