"""pytest-benchmark's JSON, as ``--benchmark-json`` writes it: times as statistics, all other figures as extra_info.

Needs pytest-benchmark, whose own class computes the statistics. ``pytest-benchmark compare FILE`` reads the file.
"""

from __future__ import annotations

import json
from typing import Any

from vdbench.errors import InputError
from vdbench.exporting.figures import Figures, interval


def files(found: Figures) -> dict[str, str]:
    """The content of ``benchmark.json``.

    Raises:
        InputError: pytest-benchmark is not installed, or no estimator of the run was timed.
    """
    try:
        from pytest_benchmark import __version__
        from pytest_benchmark import stats as own
    except ImportError as error:
        raise InputError(
            "export --to pytest-benchmark needs the package pytest-benchmark, which is not installed here."
        ) from error
    benchmarks = []
    for where, figures in found.places():
        times = found.times(where)
        if times is None:
            continue
        module: Any = own
        stats = module.Stats()
        for seconds in times.seconds:
            stats.update(seconds)
        named = {"problem": where.problem, "checkpoint": where.checkpoint,
                 "batch_size": where.batch_size, "estimator": where.estimator}  # fmt: skip
        benchmarks.append(
            {
                "group": f"{where.problem}, {where.checkpoint}, M={where.batch_size}",
                "name": f"gradient[{where.estimator}]",
                "fullname": f"{found.run.suite.name}::gradient[{where}]",
                "params": named,
                "param": str(where),
                "extra_info": {row["name"]: interval(row) for _, row in figures.iterrows()},
                "options": {"disable_gc": False, "timer": "perf_counter", "min_rounds": len(times.seconds),
                            "max_time": 0.0, "min_time": 0.0, "warmup": True},
                "stats": {**stats.as_dict(), "data": times.seconds, "iterations": times.calls},
            }
        )  # fmt: skip
    if not benchmarks:
        raise InputError(
            f"export --to pytest-benchmark: no estimator of '{found.run.name}' was timed; "
            "expected a run with the measure throughput."
        )
    info = found.run.info
    content = {
        "machine_info": _machine(info),
        "commit_info": _commit(info),
        "benchmarks": benchmarks,
        "datetime": info.get("finished") or info.get("started") or "",
        "version": __version__,
    }
    return {"benchmark.json": json.dumps(content, indent=4)}


def _machine(info: dict[str, Any]) -> dict[str, Any]:
    """What a run records of its machine, under the names of pytest-benchmark."""
    described = info.get("environment") or {}
    python, system = described.get("python") or {}, described.get("platform") or {}
    cpu = described.get("cpu") or {}
    return {
        "node": "",
        "processor": str(cpu.get("model") or ""),
        "machine": str(system.get("machine") or ""),
        "python_implementation": str(python.get("implementation") or ""),
        "python_version": str(python.get("version") or ""),
        "python_compiler": str(python.get("compiler") or ""),
        "release": str(system.get("release") or ""),
        "system": str(system.get("system") or ""),
        "cpu": {**cpu, "brand_raw": str(cpu.get("model") or ""), "count": cpu.get("logical_cores")},
    }


def _commit(info: dict[str, Any]) -> dict[str, Any]:
    git = (info.get("git") or {}).get("vdbench") or {}
    return {
        "id": git.get("commit"),
        "time": None,
        "author_time": None,
        "dirty": bool(git.get("dirty")),
        "project": "vdbench",
        "branch": git.get("branch") or "(unknown)",
    }
