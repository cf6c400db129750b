"""Measures vdbench on a GPU in one go of at most a quarter of an hour, and writes what it found as it finds it.

    python tests/gpu/measure.py --out $OUT                 # on a machine with a CUDA device
    python tests/gpu/measure.py --out build/gpu --tiny     # that it runs at all: seconds, on any machine

Sections: parity of the ways to compute one gradient, with each other and with the CPU; the rate of one large product;
draws a second of the engine; one gradient eager, captured, by hand and with the fused kernel; a training step; the
kernels; the tests that need a GPU; and the suites, each with a limit. Each has its own file of JSON, written when it is
done, so that an interruption loses one at most; `report.md` has all rows. What is left when time runs out is named.

Exit code: 0 if every section ran, 1 if one failed or was left out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

import gpu_rows  # noqa: E402
import torch  # noqa: E402
from gpu_setting import TINY, WHOLE, Row, Setting, row  # noqa: E402
from gpu_timing import Timing  # noqa: E402

from vdbench.runner.environment import describe  # noqa: E402

TESTS = [
    "tests/estimators/test_gpu.py", "tests/estimators/test_fused_local.py", "tests/vdbench/kernels",
    "tests/vdbench/modes", "tests/vdbench/test_arithmetic.py", "tests/vdbench/runner/test_environment.py",
]  # fmt: skip
SUITES = {"quick": 60, "kingma2015-speed": 150, "mnist-first": 150, "kingma2015-table1": 240}
"""Each with the most seconds that it gets."""

KEPT = ("run.json", "results.parquet", "report/report.md")
TEST_SECONDS = 150


class Run:
    """One go: where it writes, until when, and what failed."""

    def __init__(self, out: Path, minutes: float) -> None:
        self.out = out
        self.until = time.monotonic() + 60 * minutes
        self.rows: dict[str, list[Row]] = {}
        self.wrong: list[str] = []
        out.mkdir(parents=True, exist_ok=True)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.until - time.monotonic()

    def keep(self, name: str, found: list[Row], seconds: float) -> None:
        """Write a section's rows, and the page of all so far; note what is wrong among them."""
        self.wrong += [f"{name}: {r['what']}: {r['found']:.3g}" for r in found if r.get("wrong")]
        self.rows[name] = found
        text = json.dumps({"section": name, "seconds": seconds, "rows": found}, indent=1)
        (self.out / f"{name}.json").write_text(text, encoding="utf-8")
        (self.out / "report.md").write_text(page(self.rows, self.wrong), encoding="utf-8")

    def section(self, name: str, work: Any, *arguments: Any) -> None:
        """One section; what it raises is recorded, and the next one goes on."""
        began = time.monotonic()
        if self.left <= 0:
            self.wrong.append(f"{name}: left out, no time left")
            self.keep(name, [row(name, "left out: no time left")], 0.0)
            return
        print(f"{name} …", flush=True)
        try:
            found = work(*arguments)
        except Exception as error:  # whatever one section runs into, the others are worth having
            traceback.print_exc()
            self.wrong.append(f"{name}: {type(error).__name__}: {error}")
            found = [row(name, f"failed: {type(error).__name__}: {str(error)[:300]}")]
        self.keep(name, found, time.monotonic() - began)


def page(sections: dict[str, list[Row]], wrong: Sequence[str]) -> str:
    """All rows as Markdown."""
    lines = ["# vdbench on a GPU", "", *(f"- {line}" for line in wrong), ""]
    for name, rows in sections.items():
        lines += [f"## {name}", "", "| what | found | aim |", "|---|---|---|"]
        lines += [f"| {r['what']} | {shown(r['found'])} | {r.get('aim', '')} |" for r in rows]
        lines.append("")
    return "\n".join(lines)


def shown(found: Any) -> str:
    """A figure with the range of its rounds."""
    if isinstance(found, dict):
        return (
            f"{found['median']:.4g} ({found['low']:.4g} to {found['high']:.4g}; n = {found['n']})"
        )
    return f"{found:.3g}" if isinstance(found, float) else str(found)


def tests(run: Run) -> list[Row]:
    """The tests that need a GPU, in a process of their own."""
    limit = min(TEST_SECONDS, run.left)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    text, ended = finished(command, limit, run.out / "tests.txt")
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "no output")
    if ended != "exit code 0":
        run.wrong.append(f"tests: {ended}: {last}")
    return [row("pytest", f"{ended}: {last}")]


def suites(run: Run, device: str, limits: dict[str, int], more: Sequence[str]) -> list[Row]:
    """Each suite in a process of its own, until its limit; what there is of its report is kept."""
    found = []
    for name, most in limits.items():
        limit = min(most, run.left)
        if limit < 5:
            run.wrong.append(f"suite {name}: left out, no time left")
            found.append(row(f"suite {name}", "left out: no time left"))
            continue
        folder = run.out / "work" / name
        command = [sys.executable, "-m", "vdbench", "run", name, "--device", device]
        began = time.monotonic()
        text, ended = finished(
            [*command, "--out", str(folder), *more], limit, run.out / f"suite-{name}.txt"
        )
        keep(folder, run.out / "suites" / name)
        said = next((line for line in reversed(text.splitlines()) if line.strip()), "")
        if ended != "exit code 0":
            run.wrong.append(f"suite {name}: {ended}: {said[:200]}")
        found.append(
            row(f"suite {name}", f"{ended}, {time.monotonic() - began:.0f} s: {said[:200]}")
        )
    shutil.rmtree(run.out / "work", ignore_errors=True)
    return found


def finished(command: Sequence[str], limit: float, log: Path) -> tuple[str, str]:
    """What a command printed, and how it ended; at its limit it is interrupted, then killed."""
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            process.wait(limit)
            ended = f"exit code {process.returncode}"
        except subprocess.TimeoutExpired:
            process.send_signal(2)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            ended = f"interrupted after {limit:.0f} s"
    return log.read_text("utf-8", errors="replace"), ended


def keep(run: Path, to: Path) -> None:
    """A run without its blocks and its page."""
    for name in KEPT:
        if (run / name).exists():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(run / name, to / name)


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=os.environ.get("OUT"), help="folder; else $OUT")
    parser.add_argument("--minutes", type=float, default=14, help="no section begins after these")
    parser.add_argument("--device", default="cuda", help="cuda, or with --tiny cpu")
    parser.add_argument("--tiny", action="store_true", help="sizes that take seconds, on the CPU")
    parser.add_argument("--only", nargs="*", help="sections: " + ", ".join(every()))
    parser.add_argument("--set", action="append", default=[], help="passed on to vdbench run")
    found = parser.parse_args(words)
    if found.out is None:
        parser.error("--out DIR, or $OUT, says where results are written")
    if found.tiny:
        found.device = "cpu"
    elif not torch.cuda.is_available():
        parser.error("there is no CUDA device; --tiny runs small sizes on the CPU")
    unknown = set(found.only or ()) - set(every())
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(every())}")
    return found


def every() -> list[str]:
    """Names of the sections, in order."""
    return [*gpu_rows.SECTIONS, "tests", "suites"]


def main(words: Sequence[str] | None = None) -> int:
    """Run the sections that are asked for."""
    given = arguments(words)
    run = Run(given.out, given.minutes)
    timing = Timing(torch.device(given.device), *((2, 0.001) if given.tiny else ()))
    at = Setting(timing, TINY if given.tiny else WHOLE)
    where = json.dumps(describe(given.device), indent=1, default=str)
    (run.out / "environment.json").write_text(where, encoding="utf-8")
    asked = given.only or [n for n in every() if not given.tiny or n not in ("tests", "suites")]
    more = [word for setting in given.set for word in ("--set", setting)]
    limits = {"quick": SUITES["quick"]} if given.tiny else SUITES
    for name in every():
        if name not in asked:
            continue
        if name == "tests":
            run.section(name, tests, run)
        elif name == "suites":
            run.section(name, suites, run, given.device, limits, more)
        else:
            run.section(name, gpu_rows.SECTIONS[name], at)
    print((run.out / "report.md").read_text("utf-8"))
    return 1 if run.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
