"""What a run leaves, column by column: names, types, meanings, statuses and version numbers, for writer and reader.

``python -m vdbench.schema`` prints it as a JSON Schema; ``docs/schema.json`` is a copy of that.
"""

from __future__ import annotations

import json
from typing import Any

BLOCKS = 2
"""Version of the layout of blocks; part of every block's address; 2 added the threads that a cell was given."""

RUN = 3
"""Version of ``run.json``, ``results.parquet`` and ``training.parquet``; 2 added ``detail``, 3 ``mode``."""

STATUSES = {
    "ok": "measured as asked",
    "converged": "the precision asked for was reached",
    "bounded": "a bound (units, rounds, time) was reached before the precision asked for",
    "undefined": "no value: a denominator is not above zero",
    "rejected": "a claim about vdbench itself was rejected by its test",
    "coarse": "the truth that a claim was tested against is not known well enough",
    "failed": "the cell failed; `message` has the cause",
}
"""Statuses of a row, and what each says."""

COLUMNS: dict[str, tuple[str, str]] = {
    "suite": ("str", "name of the suite"),
    "problem": ("str", "label of the problem"),
    "checkpoint": ("str", "where gradients are taken; `training` or `trained` for trainings"),
    "estimator": ("str", "registered name of the estimator"),
    "options": ("str", "its options as canonical JSON"),
    "objective": ("str", "objective of the run: `likelihood`, or `elbo` with the KL's gradient"),
    "parameterization": ("str", "coordinates of the posterior"),
    "precision": ("str", "`float32`, `float64`, or `tf32`, `bf16`: float32 with rounded products"),
    "device": ("str", "`cpu` or `cuda`"),
    "batch_size": ("int64", "examples in a minibatch"),
    "samples": ("int64", "draws of noise that one gradient is the mean of"),
    "seed": ("int64", "seed of the suite"),
    "layer": ("str", "name of the layer, or `all`"),
    "role": ("str", "role of the parameters: `mean`, `scale`, `factor`, `theta`, `alpha`, `logit`, `bias` or `all`"),
    "metric": ("str", "what the value is"),
    "step": ("float64", "training step or epoch of the value; NaN where there is none"),
    "seconds": ("float64", "seconds of training until then; NaN where there is none"),
    "value": ("float64", "the estimate"),
    "ci_low": ("float64", "lower end of its interval"),
    "ci_high": ("float64", "upper end of its interval"),
    "level": ("float64", "level of the interval"),
    "n": ("int64", "units, rounds, processes or seeds that the value comes from"),
    "unit": ("str", "unit of the value"),
    "status": ("str", "one of the statuses"),
    "message": ("str", "a note for readers; nothing is computed from it"),
    "against": ("str", "label of what a ratio or difference is taken against"),
    "label": ("str", "how reports call the estimator"),
    "serves": ("str", "objective whose gradient the estimator estimates on that problem"),
    "detail": ("str", "facts about the value as a JSON object; see `DETAILS`"),
    "mode": ("str", "of what is timed: `eager`, `graph` or `compile`; empty for all else"),
}  # fmt: skip
"""Columns of ``results.parquet`` in order: type and meaning."""

DETAILS: dict[str, tuple[str, str]] = {
    "examples": ("integer", "examples of each minibatch that the noise was measured on"),
    "batch_size": ("integer", "minibatch size that the noise was scaled to"),
    "data_from": ("string", "estimator whose data part and mean were used"),
    "conditional_on": ("string", "what of data_from the noise's conditional variance was computed from"),
    "reference": ("string", "unbiased estimator that bias was measured against"),
    "steps": ("integer", "gradients of an epoch"),
    "target": ("number", "ELBO to be reached, nats"),
    "reached": ("integer", "seeds that reached the target"),
    "seeds": ("integer", "seeds in all"),
    "pairs": ("integer", "seeds whose evaluation took antithetic pairs of weight samples; independent in the others"),
    "learning_rate": ("number", "of these trainings"),
    "most_steps": ("integer", "steps after which a training that had not reached the target ended"),
    "estimators": ("integer", "estimators that a rank correlation is over"),
    "comparisons": ("integer", "comparisons that the level is adjusted for"),
    "largest_error": ("number", "critical value of the largest error of all of them, where it is below Bonferroni's"),
    "points": ("integer", "batch sizes or samples of a fit"),
    "distance": ("number", "farthest of these from the fitted line, in half-widths of its interval"),
    "claimed": ("number", "level that the intervals claim"),
    "p": ("number", "p value of the test of that claim, adjusted for all figures"),
    "why": ("string", "why there is no value"),
    "kills": ("integer", "signals sent"),
    "campaigns": ("integer", "runs that were killed"),
    "figures": ("integer", "values compared bit by bit in each"),
    "stop": ("string", "why a cell stopped: `precision` or `max_units`"),
    "units": ("integer", "units at which a cell stopped"),
    "width": ("number", "widest relative half-width where it stopped"),
    "widest": ("string", "quantity, layer and role of the widest interval"),
    "aim": ("number", "half-width that was aimed at for it, where the suite has targets"),
    "needed": ("integer", "about how many units the tails of its rows ask for, where it stopped with too few"),
    "rounds": ("integer", "interleaved rounds that were timed"),
    "launch_bound": ("boolean", "whether the device computes less than half of the time, by its interval"),
    "throttled": ("integer", "samples left out because heat or power slowed the device"),
    "stopped_early": ("array", "epoch at which patience ended each seed's training, or null"),
    "best": ("array", "epoch whose parameters each seed's training gave"),
    "way": ("string", "how the draws of a variance were taken: `products`, `together` or `one by one`"),
    "evaluated_on": ("integer", "training examples that ELBOs are estimated from, others for each seed, where not all"),
    "memory_expected": ("integer", "bytes of tensors that it was expected to hold at most, before it began"),
    "passes_to_fit": ("integer", "passes over the training split that fitting the estimator takes"),
    "way_why": ("string", "why they were not taken as products"),
}  # fmt: skip
"""Keys of ``detail``, of a row of the table and of a cell in ``run.json``: JSON type and meaning."""

TRAINING_COLUMNS: dict[str, tuple[str, str]] = {
    "problem": ("str", "label of the problem"),
    "estimator": ("str", "label of the estimator"),
    "seed": ("int64", "number of the training"),
    "epoch": ("float64", "epoch"),
    "step": ("float64", "training step"),
    "layer": ("str", "name of the layer, or `all`"),
    "metric": ("str", "what the value is; `final.` before those of the parameters that the training gave"),
    "bin": ("float64", "bin of a histogram, or pixel of a map; NaN where there is none"),
    "value": ("float64", "the value"),
}  # fmt: skip
"""Columns of ``training.parquet``."""

CELL: dict[str, tuple[str, str]] = {
    "problem": ("string", COLUMNS["problem"][1]),
    "checkpoint": ("string", COLUMNS["checkpoint"][1]),
    "batch_size": ("integer", COLUMNS["batch_size"][1]),
    "estimator": ("string", "label of the estimator"),
    "measure": ("string", "name of the measure"),
    "mode": ("string", "how gradients are computed, where it is not `eager`; else absent"),
    "status": ("string", COLUMNS["status"][1]),
    "reason": ("string", "why it stopped, in words"),
    "n": ("integer", COLUMNS["n"][1]),
    "seconds": ("number", "wall time spent on it"),
    "detail": ("object", "the same as facts"),
    "kept": ("string", "why it failed last, where the figures of an earlier session were kept; else absent"),
}  # fmt: skip
"""Entries of ``cells`` in ``run.json``."""

DAMAGED: dict[str, tuple[str, str]] = {
    "file": ("string", "file that did not fit"),
    "kept": ("string", "where it is now"),
    "why": ("string", "how it did not fit"),
    "when": ("string", "when it was set aside, UTC"),
}
"""Entries of ``damaged`` in ``run.json``."""

RECORD: dict[str, tuple[str, str]] = {
    "schema": ("integer", "version of this file and of the tables"),
    "identity": ("string", "hash of suite, device and chosen estimators, also in the tables' seals"),
    "sealed": ("boolean", "whether all files of the folder must have a seal"),
    "damaged": ("array", "files that were set aside, in all sessions"),
    "unsealed": ("integer", "files without a seal, of an earlier version, that the last session read"),
    "cells": ("array", "how each cell ended"),
    "blocks": ("integer", "version of the layout of blocks"),
    "isolation": ("object", "whether cells had processes of their own, and if not why"),
    "jobs": ("integer", "most cells that were measured at a time"),
    "cell_threads": ("object", "torch's threads of cells: `beside` others, or `alone` on the machine"),
    "workers": ("array", "what other processes or machines measured for the run"),
    "engine": ("object", "who had the jobs done, where it was not this machine; else absent"),
    "merged": ("array", "start, end and seconds of the runs that were joined; else absent"),
    "seal": ("string", "checksum over the rest"),
}  # fmt: skip
"""Some keys of ``run.json``; others describe suite, environment and problems."""

_JSON = {"str": "string", "int64": "integer", "float64": "number"}


def json_schema() -> dict[str, Any]:
    """All of the above as one JSON Schema (draft 2020-12)."""

    def table(columns: dict[str, tuple[str, str]]) -> dict[str, Any]:
        properties = {
            name: {"type": _JSON.get(kind, kind), "description": meaning}
            for name, (kind, meaning) in columns.items()
        }
        return {"type": "object", "properties": properties}

    row = table(COLUMNS)
    row["required"] = list(COLUMNS)
    row["properties"]["status"]["enum"] = list(STATUSES)
    cell = table(CELL)
    cell["properties"]["detail"] = {"$ref": "#/$defs/detail"}
    record = table(RECORD)
    for key in ("cells", "damaged"):
        record["properties"][key]["items"] = {"$ref": f"#/$defs/{key.removesuffix('s')}"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "vdbench run folder",
        "version": RUN,
        "$defs": {
            "detail": {**table(DETAILS), "additionalProperties": False},
            "cell": cell,
            "damaged": table(DAMAGED),
            "run.json": record,
            "results.parquet": row,
            "training.parquet": table(TRAINING_COLUMNS),
        },
    }


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=1))
