"""On what machine, with which versions, from which source; and the command to run it again."""

from __future__ import annotations

import json
from typing import Any

from reports.document import Block, Code, Heading, Paragraph, Table
from reports.results.load import Results, Run
from reports.sections.section import Findings
from reports.words.numbers import MISSING, format_number

FACTS = {
    "torch": (("environment", "torch", "version"), ("versions", "torch")),
    "python": (("environment", "python", "version"), ("versions", "python")),
    "processor": (("environment", "cpu", "model"), ("environment", "cpu")),
    "device": (("environment", "device", "name"), ("device",)),
    "threads": (("threads",), ("environment", "torch", "threads")),
    "wall time (s)": (("wall_seconds",),),
    "seed": (("seed",),),
    "started": (("started",),),
    "finished": (("finished",),),
}
"""The facts a reader looks for first, and where ``run.json`` may have each."""

TIMES = r"\btime\.|seconds|throughput\."
"""What the names of metrics of time have in them."""


class Environment:
    """The machine, the versions and the command, so that a run can be repeated."""

    anchor = "environment"
    title = "Environment and reproduction"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section."""
        return environment_blocks(found.results)


def environment_blocks(results: Results) -> list[Block]:
    """Give the command, the facts that matter most, and all that was recorded."""
    blocks: list[Block] = []
    for run in results.runs.values():
        if results.several:
            blocks.append(Heading(run.name))
        if run.info.get("command"):
            blocks += [Paragraph("To repeat the run:"), Code(str(run.info["command"]))]
        facts = [["source (git)", source(run)]]
        facts += [[name, fact(run, places)] for name, places in FACTS.items()]
        if loads := load_average(run):
            facts.append(["load average at the start (1, 5, 15 min)", ", ".join(map(str, loads))])
        blocks.append(Table(["fact", "value"], facts, "Main facts, as recorded with the run."))
        rows = []
        for key in ("git", "versions", "environment"):
            rows += flat(recorded(run, key), "" if key == "environment" else f"{key} ")
        if rows:
            said = "The environment in full."
            blocks.append(Table(["fact", "value"], rows, said, folded=True))
    return blocks


def recorded(run: Run, key: str) -> Any:
    """Return one record of the surroundings; package versions are listed under versions alone."""
    found = run.info.get(key) or {}
    if key == "environment" and isinstance(found, dict) and run.info.get("versions"):
        return {name: value for name, value in found.items() if name != "packages"}
    return found


def load_average(run: Run) -> list[float]:
    """Return the load averages recorded when a run began; none where there are none."""
    found = (run.info.get("environment") or {}).get("load_average")
    kept = found if isinstance(found, list) else []
    return [float(x) for x in kept if isinstance(x, (int, float))]


def timed(results: Results, run: Run) -> bool:
    """Whether a run measured any time."""
    frame = results.frame
    names = frame.loc[frame["run"] == run.name, "metric"].astype(str)
    return bool(names.str.contains(TIMES).any())


def busy(run: Run) -> str:
    """Warn of a machine that was more than half busy when a run began; empty for others."""
    loads = load_average(run)
    cpu = (run.info.get("environment") or {}).get("cpu")
    cores = cpu.get("logical_cores") if isinstance(cpu, dict) else None
    if not loads or not isinstance(cores, int) or loads[0] <= cores / 2:
        return ""
    return (
        f"The machine was busy when the run began (load {loads[0]:.1f} on {cores} "
        f"core{'s' if cores != 1 else ''}), so absolute times are not those of an idle machine."
    )


def by_counter(run: Run) -> str:
    """Say that times on a CPU include random numbers by counter, which take longer there; empty for other runs."""
    suite = run.info.get("suite") or {}
    if suite.get("noise") != "philox" or str(run.info.get("device") or "cpu") != "cpu":
        return ""
    return (
        "Random numbers were made by counter (noise: philox), which takes longer on a CPU than torch's generator: "
        "times are higher than in a run with noise: torch, the more the more numbers a gradient needs."
    )


def source(run: Run) -> str:
    """Say which commit ran, and whether the working tree differed from it."""
    git = run.info.get("git") or {}
    for found in (git.get("vdbench"), git):
        if isinstance(found, dict) and found.get("commit"):
            changes = "with" if found.get("dirty") else "without"
            return f"{found['commit']}, {changes} uncommitted changes"
    return "not recorded: not run from a git checkout"


def fact(run: Run, places: tuple[tuple[str, ...], ...]) -> str:
    """Return the first of several records that holds a single value."""
    for place in places:
        found: Any = run.info
        for key in place:
            found = found.get(key) if isinstance(found, dict) else None
        if found is not None and not isinstance(found, dict):
            return plain(found)
    return MISSING


def flat(tree: Any, prefix: str) -> list[list[str]]:
    """Flatten nested records to rows of name and value."""
    if not isinstance(tree, dict):
        return [[prefix.strip(), plain(tree)]]
    rows = []
    for key, value in tree.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        rows += flat(value, f"{name} ") if isinstance(value, dict) else [[name, plain(value)]]
    return rows


def plain(value: Any) -> str:
    """Write a recorded value."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: MISSING}[value]
    if isinstance(value, float):
        return format_number(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
