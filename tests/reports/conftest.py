"""A run made up for the reports: five estimators, two problems, a failed and a bounded cell."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reports.document import Document
from reports.output.markdown import markdown
from reports.results.load import load
from reports.sections.report import document
from reports.sections.section import Findings

Row = dict[str, Any]
SCORE = "score(samples=4, baseline=leave-one-out)"
LABELS = ["deterministic", "naive", "per-example", "local", SCORE]
VARIANCE = {  # total over all layers, (mean, scale, bias)
    "deterministic": (40.0, 0.0, 9.0),
    "naive": (1830.0, 212.0, 40.0),
    "per-example": (420.0, 60.0, 14.0),
    "local": (210.0, 31.0, 12.0),
    SCORE: (2.6e5, 9.1e4, 5000.0),
}
SECONDS = {
    "deterministic": 4.1e-4, "naive": 6.2e-4, "per-example": 3.1e-2, "local": 8.3e-4, SCORE: 2.2e-3,
}  # fmt: skip
LAYERS = {"fc1": 0.4, "fc2": 1.3, "fc3": 5.0, "all": 1.0}
ROLES = ("mean", "scale", "bias")


def row(label: str, metric: str, value: float, low: float, high: float, **more: Any) -> Row:
    """Make one row of results.parquet."""
    name, _, rest = label.partition("(")
    options = dict(part.split("=") for part in rest.rstrip(")").split(", ")) if rest else {}
    base: Row = {
        "suite": "quick", "problem": "digits-mlp", "checkpoint": "initial", "estimator": name,
        "options": json.dumps(options), "objective": "likelihood",
        "parameterization": "mean-log_variance", "precision": "float32", "device": "cpu",
        "batch_size": 128, "samples": 4 if "samples" in rest else 1, "seed": 0, "layer": "all",
        "role": "all", "metric": metric, "step": math.nan, "seconds": math.nan, "value": value,
        "ci_low": low, "ci_high": high, "level": 0.95, "n": 400, "unit": "gradient^2",
        "status": "converged", "message": "", "against": "", "label": label,
    }  # fmt: skip
    return base | more


def around(value: float, half: float = 0.05) -> tuple[float, float, float]:
    """Return a value with an interval of a relative half width."""
    return value, value * (1 - half), value * (1 + half)


def variance_rows(labels: Iterable[str], **more: Any) -> list[Row]:
    """Rows of variance, ratio and paired comparisons."""
    rows, labels = [], list(labels)
    for i, role in enumerate(ROLES):
        for label in labels:
            for layer, factor in LAYERS.items():
                total, base = VARIANCE[label][i] * factor, VARIANCE["naive"][i] * factor
                data = min(total, 5.0 * factor)
                where = {"layer": layer, "role": role, **more}
                rows += [
                    row(label, "variance.total", *around(total), **where),
                    row(label, "variance.noise", *around(total - data), **where),
                    row(
                        label, "variance.data", data, data - 9 * factor, data + 6 * factor, **where
                    ),
                    row(label, "snr", *around(0.3 / (1 + total / 500)), **where | {"unit": "1"}),
                    row(label, "relative_bias", 0.01, 0.0, 0.03, **where | {"unit": "1"}),
                ]
                if label != "naive" and "naive" in labels:
                    against = where | {"against": "naive", "unit": "1"}
                    rows.append(
                        row(label, "ratio.variance.total", *around(total / base, 0.03), **against)
                    )
                    noise = (total - data) / (base - min(base, 5.0 * factor))
                    rows.append(row(label, "ratio.variance.noise", *around(noise, 0.03), **against))
            for other in labels:
                if other != label and VARIANCE[other][i]:
                    pair = VARIANCE[label][i] / VARIANCE[other][i]
                    where = {"role": role, "against": other, "unit": "1", **more}
                    rows.append(row(label, "pairwise.variance.total", *around(pair, 0.08), **where))
    return rows


def cost_rows(labels: Iterable[str], **more: Any) -> list[Row]:
    """Rows of time, throughput and variance × seconds."""
    rows = []
    for label in labels:
        seconds = SECONDS[label]
        timed = {"n": 30, **more}
        rate, examples = around(1 / seconds, 0.03), around(128 / seconds, 0.03)
        rows += [
            row(label, "time.seconds_per_gradient", *around(seconds, 0.03), unit="s", **timed),
            row(label, "throughput.gradients_per_second", *rate, unit="gradients/s", **timed),
            row(label, "throughput.examples_per_second", *examples, unit="examples/s", **timed),
        ]
        if label != "naive":
            times = around(seconds / SECONDS["naive"], 0.04)
            rows.append(
                row(label, "ratio.time.seconds_per_gradient", *times, against="naive", n=30, **more)
            )
        for i, role in enumerate(ROLES):
            product = VARIANCE[label][i] * seconds
            where = {"role": role, "unit": "gradient^2 s", **more}
            rows.append(row(label, "efficiency.variance_seconds", *around(product, 0.06), **where))
            if label != "naive":
                ratio = product / (VARIANCE["naive"][i] * SECONDS["naive"])
                name = "ratio.efficiency.variance_seconds"
                rows.append(row(label, name, *around(ratio, 0.06), **where | {"against": "naive"}))
    return rows


def training_rows(labels: Iterable[str], **more: Any) -> list[Row]:
    """Rows of convergence and of the test set."""
    rows = []
    where = {"checkpoint": "training", "unit": "nats", "n": 5, "status": "ok", **more}
    for i, label in enumerate(labels):
        final = -900.0 - 60 * i
        for step in range(0, 401, 20):
            elbo = final - 3200 * math.exp(-step / (35 + 12 * i))
            band = 15 + 2000 / (step + 20)
            time = {"step": float(step), "seconds": step * SECONDS[label]}
            rows.append(
                row(label, "convergence.elbo", elbo, elbo - band, elbo + band, **where | time)
            )
        rows.append(row(label, "convergence.final_elbo", final, final - 18, final + 18, **where))
        rows.append(
            row(
                label,
                "test.error",
                4.2 + i / 3,
                3.9 + i / 3,
                4.5 + i / 3,
                **where | {"unit": "percent"},
            )
        )
        rows.append(
            row(label, "test.nll", *around(0.16 + i / 50), **where | {"unit": "nats/example"})
        )
        reached = around(0.1 * (i + 1)) if i < 4 else (math.nan,) * 3
        rows.append(row(label, "convergence.seconds_to_target", *reached, **where | {"unit": "s"}))
    return rows


def all_rows() -> list[Row]:
    """Rows of the whole run: two groups, one failed cell, one bounded."""
    rows = variance_rows(LABELS) + cost_rows(LABELS) + training_rows(LABELS)
    for item in rows:
        if item["label"] == SCORE and item["metric"].startswith("variance."):
            item["status"] = "bounded"
    second = {"problem": "breast-cancer-mlp", "checkpoint": "local-5-epochs", "batch_size": 64}
    rows += variance_rows(LABELS[:4], **second) + cost_rows(LABELS[:4], **second)
    nothing = (math.nan,) * 3
    failed = {
        "status": "failed",
        "message": "out of memory: 3.1 GiB asked",
        "n": 0,
        "layer": "",
        "role": "",
    }
    rows.append(row(SCORE, "variance", *nothing, **second | failed))
    return rows


def run_info(labels: Iterable[str] = LABELS, **more: Any) -> dict[str, Any]:
    """Make run.json."""
    labels = list(labels)
    cell = {"units_bound": 4096, "chunk": 32, "seconds": 1.25}
    first = {"problem": "digits-mlp", "checkpoint": "initial", "batch_size": 128, **cell}
    cells = [
        first | {"estimator": x, "measure": "variance", "n": 400, "status": "converged",
                 "reason": "precision reached"} for x in labels
    ]  # fmt: skip
    if SCORE in labels:
        cells[-1] |= {
            "status": "bounded",
            "reason": "4096 units drawn, ±5 % not reached",
            "n": 4096,
        }
        cells.append(first | {"problem": "breast-cancer-mlp", "checkpoint": "local-5-epochs",
                              "batch_size": 64, "estimator": SCORE, "measure": "variance", "n": 0,
                              "status": "failed", "reason": "out of memory"})  # fmt: skip
    info = {
        "schema": 1, "suite": {"name": "quick"}, "seed": 0, "baseline": "naive",
        "reference": "local", "level": 0.95, "command": "vdbench run quick --out runs/quick",
        "started": "2026-01-02T03:04:05Z", "finished": "2026-01-02T03:05:01Z", "wall_seconds": 56.2,
        "device": "cpu", "threads": 2,
        "environment": {"cpu": {"model": "a processor"}, "memory": {"total_bytes": 8589934592}},
        "git": {"vdbench": {"commit": "0123abc", "dirty": True}, "cwd": None},
        "versions": {"python": "3.11", "torch": "2.13.0"},
        "estimators": {x: declaration(x) for x in labels},
        "problems": {
            name: {"description": "a network of two hidden layers", "examples": 1437,
                   "parameters": 4810,
                   "layers": ["fc1", "fc2", "fc3"], "parameterization": "mean-log_variance",
                   "prior": "gaussian", "dataset": "digits"}
            for name in ("digits-mlp", "breast-cancer-mlp")
        },
        "cells": cells,
    }  # fmt: skip
    return info | more


def declaration(label: str) -> dict[str, Any]:
    """Make what an estimator declares of itself."""
    plug_in = label == "deterministic"
    return {
        "name": label.partition("(")[0], "options": {}, "unbiased": True,
        "objective": "plug-in" if plug_in else "weight-space ELBO",
        "independent_examples": label == "local",
        "laws": ["normal"], "version": "1", "summary": "What it is, in one line.",
    }  # fmt: skip


def save(folder: Path, rows: list[Row], info: dict[str, Any]) -> Path:
    """Write a run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_parquet(folder / "results.parquet")
    (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run."""
    return save(tmp_path_factory.mktemp("runs") / "quick", all_rows(), run_info())


@pytest.fixture(scope="session")
def composed() -> Callable[..., Document]:
    """Composes the report of run folders, without drawing a picture."""

    def compose(*folders: Path) -> Document:
        return document(Findings(load(folders)))

    return compose


@pytest.fixture(scope="session")
def report(composed: Callable[..., Document]) -> Callable[..., str]:
    """Writes the report of run folders as Markdown, without drawing a picture."""

    def write(*folders: Path) -> str:
        return markdown(composed(*folders))

    return write


@pytest.fixture(scope="session")
def whole_report(run_folder: Path, report: Callable[..., str]) -> str:
    """The report of the complete run, as Markdown."""
    return report(run_folder)


@pytest.fixture(scope="session")
def figure() -> Callable[..., Row]:
    """Makes one row of results.parquet."""
    return row


@pytest.fixture(scope="session")
def first_rows() -> list[Row]:
    """Rows of variance and cost of one place."""
    return variance_rows(LABELS) + cost_rows(LABELS)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run of given rows, its folder's name and run.json being optional."""

    def make(rows: list[Row], name: str = "run", **info: Any) -> Path:
        labels = list(dict.fromkeys(item["label"] for item in rows))
        return save(tmp_path / name, rows, run_info(labels, **info))

    return make
