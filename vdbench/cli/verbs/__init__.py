"""The verbs of the command line, one file each (two that list and show share one)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from vdbench.cli.verbs import (
    check,
    compare,
    data,
    env,
    export,
    listing,
    merge,
    new,
    plot,
    recommend,
    report,
    run,
    verify,
    watch,
    worker,
)

VERBS: dict[str, Callable[..., Any]] = {
    "run": run.run_verb,
    "worker": worker.worker_verb,
    "watch": watch.watch_verb,
    "report": report.report_verb,
    "compare": compare.compare_verb,
    "recommend": recommend.recommend_verb,
    "plot": plot.plot_verb,
    "export": export.export_verb,
    "verify": verify.verify_verb,
    "merge": merge.merge_verb,
    "list": listing.list_verb,
    "show": listing.show_verb,
    "check": check.check_verb,
    "env": env.env_verb,
}
"""In the order in which ``vdbench --help`` lists them."""

GROUPS: dict[str, typer.Typer] = {"data": data.group, "new": new.group}
"""Verbs that have verbs of their own."""
