"""Write docs/suites.md: every bundled suite with its question, one picture and the answer of a committed run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from reports.results.claims import Answer, Held, answers
from reports.results.load import Results, load
from reports.sections.glance_sentences import verdict
from reports.sections.section import Findings
from reports.words.numbers import show
from vdbench.measures import registry

HERE = Path(__file__).parent
PAGE = HERE.parent / "suites.md"
SUITES = HERE.parents[1] / "suites"
KINDS = (
    "time-to-target-",
    "claims-",
    "over-",
    "scaling-",
    "coverage-",
    "cost-",
    "courses-",
    "summary-",
    "",
)
"""Beginnings of the names of pictures, the one that says most of a suite first."""
HEAD = """# Suites

Every bundled suite: its question, a picture, and the answer. Written from the [committed runs](results/README.md) by
`make suites`. Answers of runs at the small scale are those of small models; the suite itself is larger. Intervals,
units and machines are in the report behind each link.
"""


def page() -> str:
    """The page, from what is committed."""
    found = committed()
    parts = [HEAD]
    waiting = []
    for file in sorted(SUITES.glob("*.yaml")):
        suite = yaml.safe_load(file.read_text(encoding="utf-8"))
        if file.stem in found:
            parts.append(entry(file, str(suite["description"]), found[file.stem]))
        else:
            waiting.append(f"- `{file.stem}`: {suite['description']}")
    if waiting:
        parts.append("\n".join(["## Without a committed run", "", *waiting, ""]))
    return "\n".join(parts)


def committed() -> dict[str, Path]:
    """The run of each suite that the page shows: its folder is named as the suite, or it is the first of it."""
    found: dict[str, Path] = {}
    for folder in sorted(path.parent for path in HERE.rglob("results.parquet")):
        name = str(json.loads((folder / "run.json").read_text(encoding="utf-8"))["suite"]["name"])
        own = folder.parent == HERE and folder.name == name
        if name not in found or own:
            found[name] = folder
    return found


def entry(file: Path, question: str, folder: Path) -> str:
    """A suite's part of the page."""
    name, results = file.stem, load([folder])
    (info,) = (run.info for run in results.runs.values())
    scale = str(info["suite"].get("scale") or "full")
    link = folder.relative_to(HERE.parent).as_posix()
    size = "" if scale == "full" else f", scale `{scale}`"
    lines = [
        f"## {name}",
        "",
        question,
        "",
        f"**{answer(results)}** ([report]({link}/report.md){size})",
        "",
    ]
    if missing := lacking(file, scale, results):
        lines += [f"The run is older than the suite, and is without {', '.join(missing)}.", ""]
    shown = picture(folder)
    if shown:
        lines += [f"![{name}]({link}/figures/{shown})", ""]
    return "\n".join(lines)


def lacking(file: Path, scale: str, results: Results) -> list[str]:
    """Estimators of the suite, at the scale of a run, that the run has not."""
    suite = registry.load(file, [f"scale={scale}"])
    known = {
        str(item["name"])
        for run in results.runs.values()
        for item in run.info["suite"]["estimators"]
    }
    return sorted({spec.name for spec in suite.estimators} - known)


def picture(folder: Path) -> str:
    """The picture that says most of a run; '' where it has none."""
    names = sorted(path.name for path in (folder / "figures").glob("*.png"))
    return next((n for kind in KINDS for n in names if n.startswith(kind)), "")


def answer(results: Results) -> str:
    """The verdicts on a run's claims; of a run without claims, the first sentence of its report."""
    (name,) = results.runs
    every = answers(results, name)
    return judged(every) if every else verdict(Findings(results))[0]


def judged(every: list[Answer]) -> str:
    """How many claims hold, the first of them with our figure, and which do not hold."""
    held = [a for a in every if a.held is Held.YES]
    said = f"{len(held)} of {len(every)} claims hold"
    if held:
        more = ", such as" if len(held) > 1 else ":"
        said += f"{more} '{held[0].claim.says}': ours is {show(held[0].ours)}"
    parts: list[Any] = []
    for kind in (Held.NO, Held.OPEN, Held.UNMEASURED):
        named = [a.claim.says for a in every if a.held is kind]
        parts += [f"{kind.value}: {'; '.join(named)}"] if named else []
    return f"{'. '.join([said, *(p[0].upper() + p[1:] for p in parts)])}."


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
