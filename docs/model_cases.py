"""Write the list of small models and what becomes of each: ``make cases``.

The models are those of the tests (`tests/helpers`): one for each kind of layer, way of giving examples, or misfit.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "helpers"))

from further_misfits import FURTHER  # noqa: E402
from layer_kinds import KINDS, make  # noqa: E402
from misfits import MISFITS  # noqa: E402
from refused_models import REFUSED, classes, numbers  # noqa: E402

from vdbench.errors import InputError  # noqa: E402
from vdbench.estimation.base import objective  # noqa: E402
from vdbench.estimation.options import get  # noqa: E402
from vdbench.problems.from_module import noisy  # noqa: E402

HEAD = """# What becomes of small models and data sets

Written by `make cases` from the models of the tests. A model is either refused with the sentence shown, or measured.
The mean gradient of each estimator on the models of the first part is compared with an independent reference
(`tests/estimators/test_layer_kinds.py`).

"""


def outcome(build: Callable[[], Any]) -> str:
    """How the noise of each layer is sampled, or the sentence of a refusal."""
    try:
        problem = build()
    except InputError as error:
        return f"refused: {error}"
    whole = {layer.name for layer in problem.whole}
    opened = [layer.name for layer in problem.layers if layer.name not in whole]
    parts = []
    if opened:
        parts.append(f"noise on weights or pre-activations: {', '.join(opened)}")
    if whole:
        parts.append(f"weight only: {', '.join(sorted(whole))}")
    if objective(get("local"), problem) != "elbo":
        parts.append("`local` has another objective")
    if not problem.behaviour.vectorises:
        parts.append("draws are looped")
    if problem.behaviour.precision or problem.behaviour.of_likelihood:
        parts.append("computed in float32")
    if any("in 16 bits" in text for text in problem.behaviour.said):
        parts.append("in part in 16 bits, which is said")
    if problem.behaviour.writes_inputs:
        parts.append("each pass gets a copy of its inputs")
    return "measured; " + "; ".join(parts)


def kind(name: str) -> Any:
    """A problem of one kind of layer."""
    module, data, likelihood, options = make(name)
    return noisy(module, data, likelihood=likelihood, **options)


def main() -> None:
    """Write the page."""
    warnings.simplefilter("ignore")
    rows = [(name, outcome(lambda name=name: kind(name))) for name in KINDS]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, (build, _) in REFUSED.items():
            rows.append(
                (name, outcome(lambda b=build: noisy(b(), classes(numbers()), name="mine")))
            )
        for name, build in (MISFITS | FURTHER).items():
            torch.manual_seed(0)
            rows.append((name, outcome(build)))
    lines = [f"| {name} | {text.replace('|', chr(92) + '|')} |" for name, text in rows]
    refused = sum("| refused:" in line for line in lines)
    count = f"{len(rows)} cases: {len(rows) - refused} measured, {refused} refused.\n\n"
    table = "\n".join(["| case | outcome |", "|---|---|", *lines])
    (HERE / "model-cases.md").write_text(f"{HEAD}{count}{table}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
