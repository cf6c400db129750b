"""asv's results folder, version 2: ``benchmarks.json``, ``MACHINE/machine.json``, and one file of results for the run.

A benchmark is a metric; its parameters are problem, checkpoint, minibatch size and estimator. asv's intervals are at
99 %: those of times are made anew from the rounds, those of other figures widened to that level on the scale on which
they are symmetric. Copy the folder into the results folder of an asv project; the commit is vdbench's.
"""

from __future__ import annotations

import itertools
import json
import math
from datetime import datetime
from typing import Any

import numpy as np

from vdbench import statistics
from vdbench.errors import InputError
from vdbench.exporting.figures import Figures, Where, number
from vdbench.statistics.verdicts import widened

VERSION = 2
LEVEL = 0.99
COLUMNS = ("result", "params", "version", "started_at", "duration", "stats_ci_99_a", "stats_ci_99_b",
           "stats_q_25", "stats_q_75", "stats_number", "stats_repeat", "samples", "profile")  # fmt: skip
PARAMETERS = ("problem", "checkpoint", "batch_size", "estimator")
TIME = "time.seconds_per_gradient"


def files(found: Figures) -> dict[str, str]:
    """The content of each file, by its path.

    Raises:
        InputError: The run has no figures.
    """
    places = found.places()
    if not places:
        raise InputError(f"export --to asv: '{found.run.name}' has no figures.")
    values = [list(dict.fromkeys(where[k] for where, _ in places)) for k in range(len(PARAMETERS))]
    known = {where: figures.set_index("name") for where, figures in places}
    names = list(dict.fromkeys(n for _, figures in places for n in figures["name"]))
    info = found.run.info
    date = _milliseconds(info.get("started"))
    written = [[repr(v) for v in each] for each in values]
    combinations = [
        Where(str(p), str(c), int(m), str(e)) for p, c, m, e in itertools.product(*values)
    ]
    about: dict[str, Any] = {"version": VERSION}
    results: dict[str, Any] = {}
    for name in names:
        here = [_cell(found, known, key, name) for key in combinations]
        units = next(
            str(part.loc[[name], "unit"].iloc[0]) for part in known.values() if name in part.index
        )
        own = f"vdbench.{name.replace(' ', '_')}"
        about[own] = {
            "code": f"# {name}, as measured by vdbench\n",
            "name": own,
            "param_names": list(PARAMETERS),
            "params": written,
            "type": "time" if name == TIME else "track",
            "unit": "seconds" if name == TIME else units,
            "timeout": 60.0,
            "version": str(found.run.info.get("schema") or 1),
            "pretty_name": name,
        }
        columns = [list(c) for c in zip(*here, strict=True)]
        results[own] = [columns[0], written, about[own]["version"], date, None, *columns[1:]]
    machine = _machine(info)
    commit = str(((info.get("git") or {}).get("vdbench") or {}).get("commit") or "0" * 40)
    versions = {k: str(v) for k, v in (info.get("versions") or {}).items()}
    python = str(((info.get("environment") or {}).get("python") or {}).get("version") or "")
    content = {
        "commit_hash": commit,
        "env_name": f"vdbench-{found.run.suite.name}",
        "date": date,
        "params": {**machine, "python": python},
        "python": python,
        "requirements": versions,
        "env_vars": {},
        "result_columns": list(COLUMNS),
        "results": results,
        "durations": {},
        "version": VERSION,
    }
    folder = machine["machine"]
    return {
        "benchmarks.json": json.dumps(about, indent=1),
        f"{folder}/machine.json": json.dumps({**machine, "version": 1}, indent=1),
        f"{folder}/{commit[:8]}-vdbench-{found.run.suite.name}.json": json.dumps(content, indent=1),
    }


def _cell(found: Figures, known: dict[Where, Any], where: Where, name: str) -> tuple[Any, ...]:
    """Result, interval, quartiles, number, repeat and samples of one combination of parameters; None where none."""
    part = known.get(where)
    if part is None or name not in part.index:
        return (None,) * 7
    row = part.loc[[name]].iloc[0]
    times = found.times(where) if name == TIME else None
    if times is not None:
        best = statistics.median(times.seconds, LEVEL)
        low, high = (float(q) for q in np.quantile(times.seconds, [0.25, 0.75]))
        count = len(times.seconds)
        return (
            number(row["value"]),
            number(best.low),
            number(best.high),
            low,
            high,
            times.calls,
            count,
        )
    ends = tuple(float(row[key]) for key in ("value", "ci_low", "ci_high"))
    log = ends[1] > 0
    low, high = widened((ends[0], ends[1], ends[2]), float(row["level"]), LEVEL, log)
    return (number(row["value"]), number(low), number(high), None, None, None, int(row["n"]))


def _machine(info: dict[str, Any]) -> dict[str, str]:
    described = info.get("environment") or {}
    cpu, system = described.get("cpu") or {}, described.get("platform") or {}
    name = str((described.get("device") or {}).get("name") or cpu.get("model") or "unknown")
    plain = "".join(c if c.isalnum() else "-" for c in name).strip("-") or "unknown"
    return {
        "machine": plain,
        "arch": str(system.get("machine") or ""),
        "cpu": name,
        "num_cpu": str(cpu.get("usable_cores") or ""),
        "os": f"{system.get('system') or ''} {system.get('release') or ''}".strip(),
        "ram": str((described.get("memory") or {}).get("total_bytes") or ""),
    }


def _milliseconds(text: Any) -> int | None:
    """A time as JavaScript writes it."""
    try:
        seconds = datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None
    return int(1000 * seconds) if math.isfinite(seconds) else None
