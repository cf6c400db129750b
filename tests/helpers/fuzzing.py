"""Mutated suites and odd command lines: only the project's own error, within a second, and no code run.

``make fuzz`` runs the long form and prints a table of what became of each kind.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import io
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from vdbench.errors import LONGEST, InputError

SECONDS = 1.0
"""Most CPU time of one case."""
MARK = "@@HERE@@"
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
BAIT = "Path = __import__('pathlib').Path\nPath('RAN').write_text('')\ndef run(**_): return 1\n"
ODD = [
    "1e-3",
    "010",
    "-007",
    "0x1F",
    "1_000",
    "1:30",
    "2020-01-01",
    "1e999",
    "-1e999",
    ".nan",
    "-.inf",
    "-1",
    "0",
    "0.0",
    "1",
    "2",
    "3",
    "1000000",
    "1000000000",
    "9999999999",
    str(2**63),
    str(2**64),
    "9" * 400,
    "9" * 5000,
    "1e-400",
    "~",
    "",
    "true",
    "no",
    "''",
    '"\\e[31mred"',
    '"\\ud800"',
    '"\\U00110000"',
    '"\\0"',
    '"\\x9b31m"',
    "'=HYPERLINK(1)'",
    "../../etc",
    "x" * 199,
    "x" * 201,
    "x" * 5000,
    "é" * 150,
    "!!int x",
    "!!python/object/apply:os.system ['touch RAN']",
    "! y",
    "!!binary aGk=",
    "!!set {a, b}",
    "!!timestamp 2020-01-01",
    "*nowhere",
    "&a [*a]",
    "&a {b: *a}",
    "{}",
    "[]",
    "[[]]",
    "[~]",
    "{a: 1}",
    "{1: 2}",
    "{~: 1}",
    "{true: 1}",
    "{[a]: 1}",
    "{a: 1, a: 2}",
    "[" * 40 + "]" * 40,
    "[" * 5000,
    "{a: " * 40 + "1" + "}" * 40,
    "[" + ",".join(map(str, range(3000))) + "]",
    "[" + ",".join(["1"] * 30000) + "]",
    "subprocess:getoutput",
    "os:system",
    "bait:run",
    "bait",
    ":",
    "a:",
    ":b",
    ".a:b",
    "classification",
    "toy-cost",
    "logistic-regression",
    "local",
    "naive",
    "score",
    "samples",
    "antithetic",
    "initial",
    "quick",
    "full",
    "small",
    "digits",
    "{name: score, options: {samples: [2, 4, 8]}}",
    "{name: samples, options: {of: {name: samples, options: {of: samples}}}}",
    "{exact: toy-cost}",
    "{name: score, options: {samples: [" + ",".join(map(str, range(2, 900))) + "]}}",
    "{kind: step, every: 0}",
    "{key: options.x, values: [1, 2]}",
    "{key: options.widths, values: {1: [1], 2: [2]}}",
    "{key: options.a.b.c, values: [" + ",".join(map(str, range(2000))) + "]}",
]
"""YAML to stand where a value was."""

Mutate = Callable[[random.Random, str], "str | bytes"]


def _bytes(draw: random.Random, text: str) -> bytes:
    data = bytearray(text.encode())
    for _ in range(draw.randint(1, 6)):
        place = draw.randrange(len(data))
        kind = draw.randrange(4)
        if kind == 0:
            data[place] = draw.randrange(256)
        elif kind == 1:
            data.insert(place, draw.choice(b"\x00\x1b\xff\t\n[]{}:,&*!|>'\"%@`#-?0"))
        elif kind == 2:
            del data[place : place + draw.randint(1, 30)]
        else:
            data[place:place] = data[place : place + draw.randint(1, 200)]
        data = data or bytearray(b" ")
    return bytes(data)


def _lines(draw: random.Random, text: str) -> str:
    lines = text.splitlines()
    for _ in range(draw.randint(1, 4)):
        a, b = draw.randrange(len(lines)), draw.randrange(len(lines))
        kind = draw.randrange(5)
        if kind == 0:
            lines[a], lines[b] = lines[b], lines[a]
        elif kind == 1:
            lines.insert(a, lines[b])
        elif kind == 2 and len(lines) > 1:
            del lines[a]
        elif kind == 3:
            lines[a] = " " * draw.randint(1, 4) + lines[a]
        else:
            lines[a] = lines[a].lstrip()
    return "\n".join(lines)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield (*path, key)
        yield from _places(item, (*path, key))


def _at(content: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        content = content[key]
    return content


def _dumped(content: Any, raw: str = "") -> str:
    text = yaml.dump(
        content, Dumper=DUMPER, default_flow_style=None, width=10**6, allow_unicode=True
    )
    return str(text).replace(f"'{MARK}'", raw).replace(MARK, raw)


@functools.cache
def _parsed(text: str) -> Any:
    return yaml.load(text, yaml.SafeLoader)


def _chosen(draw: random.Random, text: str) -> tuple[Any, Any, Any]:
    """A suite to change, and a place in it; anchors are kept, so that one change may be many."""
    content = copy.deepcopy(_parsed(text))
    path = draw.choice(list(_places(content)))
    return content, _at(content, path[:-1]), path[-1]


def _values(draw: random.Random, text: str) -> str:
    content, above, key = _chosen(draw, text)
    above[key] = MARK
    return _dumped(content, draw.choice(ODD))


def _types(draw: random.Random, text: str) -> str:
    content, above, key = _chosen(draw, text)
    old = above[key]
    above[key] = draw.choice(
        [[old], {"a": old}, str(old), None, 1, 1.5, True, [], {}, [old, old], {str(key): old}]
    )
    return _dumped(content)


def _keys(draw: random.Random, text: str) -> str:
    content, above, key = _chosen(draw, text)
    if isinstance(above, dict):
        new = draw.choice(
            [
                f"{key}x",
                str(key)[1:],
                str(key).upper(),
                1,
                1.5,
                None,
                True,
                "",
                "x" * 300,
                "factory",
                "sweep",
                "options",
                "scales",
                "__class__",
                "\x1b[1m",
                "name",
                MARK,
            ]
        )
        above[new] = above.pop(key)
    else:
        above.insert(key, above[key])
    return _dumped(
        content,
        draw.choice(["<<", "? [a]", "=", "*x", "&x", "!!str y", "010", "'*'", "2020-01-01"]),
    )


def _nesting(draw: random.Random, text: str) -> str:
    content, above, key = _chosen(draw, text)
    kind = draw.randrange(4)
    if kind == 0:
        for _ in range(draw.choice([3, 31, 40, 200])):
            above[key] = [above[key]] if draw.random() < 0.5 else {"a": above[key]}
        return _dumped(content)
    if kind == 1:
        wide = draw.choice([2, 9])
        bomb = "a0: &a0 [x]\n" + "".join(
            f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * wide)}]\n"
            for i in range(1, draw.choice([4, 10, 30]))
        )
        return bomb + text
    if kind == 2:
        above[key] = draw.choice(list(_parsed(text).values()))
        return _dumped(content)
    above[key] = MARK
    return "base: &base {x: [1, 2]}\n" + _dumped(
        content, draw.choice(["*base", "{<<: *base}", "[*base, *base]"])
    )


KINDS: dict[str, Mutate] = {"bytes": _bytes, "lines": _lines, "values": _values, "types": _types, "keys": _keys,
                            "nesting": _nesting}  # fmt: skip


class _TooLong(BaseException):
    """A case that does not end."""


def _stop(*_: Any) -> None:
    raise _TooLong


class Campaign:
    """Cases with their outcomes.

    Attributes:
        table: How often, by kind and outcome.
        bad: What should not have been: kind, outcome, what was tried, and how it ended.
    """

    def __init__(self, seed: int, seconds: float = 1e9) -> None:
        """Prepare a folder with a module that tells when it is imported."""
        self.draw = random.Random(seed)
        self.table: Counter[tuple[str, str]] = Counter()
        self.bad: list[tuple[str, str, Any, str]] = []
        self.slowest, self.until = 0.0, time.monotonic() + seconds

    def late(self) -> bool:
        """Whether the time that was given is over."""
        return time.monotonic() > self.until

    def one(self, kind: str, what: Any, act: Callable[[], str]) -> None:
        """One case, timed, its outcome kept."""
        before = signal.signal(signal.SIGPROF, _stop)
        signal.setitimer(signal.ITIMER_PROF, 10)
        began, said = time.process_time(), ""
        try:
            outcome = act()
        except InputError as error:
            said = str(error)
            fine = len(said) <= LONGEST and said.isprintable()
            outcome = "refused" if fine else "refused, in no sentence"
        except BaseException as error:
            said = "".join(traceback.format_exception(error))
            outcome = "another error"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)
        seconds = time.process_time() - began
        self.slowest = max(self.slowest, seconds)
        if seconds > SECONDS:
            outcome, said = "over a second", f"{seconds:.1f} s, {outcome}, {said}"
        if Path("RAN").exists():
            Path("RAN").unlink()
            outcome = "code run"
        self.table[kind, outcome] += 1
        if outcome not in ("refused", "accepted"):
            self.bad.append((kind, outcome, what, said))

    def suites(self, count: int) -> None:
        """Mutate the bundled suites, and plan what is accepted."""
        from vdbench import problems
        from vdbench.measures.registry import load
        from vdbench.runner import plan, prepare
        from vdbench.suite import yaml_file

        folder = Path(yaml_file._folder())
        texts = [(folder / f"{name}.yaml").read_text() for name in yaml_file.names()]
        for name in yaml_file.names():
            load(name)
        file = Path("mutated.yaml")

        def act() -> str:
            suite = load(file)
            prepare.allowed(file, suite)
            for cell in plan.cells(suite)[:2000]:
                plan.work(suite, cell)
            first = suite.problems[0]
            if (
                first.factory in ("toy-cost", "logistic-regression")
                or first.options.get("dataset") == "digits"
            ):
                with contextlib.suppress(InputError):
                    problems.check(first.name, first.factory, first.options)
            return "accepted"

        for number in range(count):
            if self.late():
                break
            kind = list(KINDS)[number % len(KINDS)]
            made = KINDS[kind](self.draw, self.draw.choice(texts))
            file.write_bytes(
                made if isinstance(made, bytes) else made.encode(errors="surrogatepass")
            )
            self.one(kind, made, act)

    def commands(self, count: int) -> None:
        """Odd words, to the command line in this process."""
        from vdbench import cli

        words: list[str] = []

        def act() -> str:
            out, err, argv = io.StringIO(), io.StringIO(), sys.argv
            sys.argv = ["vdbench", *words]
            try:
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                    cli.main()
            except SystemExit as end:
                code = end.code
            finally:
                sys.argv = argv
            said = err.getvalue()
            if code not in (0, 2) or "Traceback" in said or "\x1b" in out.getvalue() + said:
                raise AssertionError(f"exit {code}: {said}")
            if said.startswith("vdbench: ") and len(said) > LONGEST + 10:
                raise AssertionError(said)
            return "refused" if code else "accepted"

        words[:] = ["run", "quick", "--dry-run"]
        act()
        for _ in range(count):
            if self.late():
                break
            words[:] = self._words()
            self.one("command lines", list(words), act)

    def _words(self) -> list[str]:
        odd = lambda: self.draw.choice([*ODD, "\x1b[31mx", "\udc80", "²"])[:20000]  # noqa: E731
        places = [
            "seed",
            "threads",
            "problems.0.name",
            "problems.0.factory",
            "problems.0.options.widths",
            "problems.0.options",
            "problems.²",
            "problems.²x.y",
            "batch_sizes.0",
            "estimators.0",
            "measures.variance.max_units",
            "measures",
            "scale",
            "scales.a",
            "a.b.c",
            ".",
            "",
            "a" * 300,
            ".".join("a" * 500),
            "problems.99999999999",
            "baseline",
            "checkpoints",
            "level",
            "reference",
            "published",
        ]
        settings = [
            w
            for _ in range(self.draw.randint(1, 2))
            for w in ("--set", f"{self.draw.choice(places)}={odd()}")
        ]
        return self.draw.choice(
            [
                ["run", "quick", "--dry-run", *settings],
                ["run", "quick", "--dry-run", *settings],
                ["run", odd(), "--dry-run"],
                ["run", "quick", "--dry-run", "--only", odd()],
                ["run", "quick", "--dry-run", "--device", odd(), "--allow", odd()],
                ["run", "quick", "--dry-run", "--plugin", odd()],
                ["show", odd()],
                ["list", odd()],
                ["data", "path", odd()],
                ["report", odd()],
                [odd(), odd()],
                ["check", odd() + "?", "--option", odd()],
                ["check", "local", "--option", odd() + "=" + odd()],
                ["new", "estimator", odd() + "?"],
                ["run", "mutated.yaml", "--dry-run", *settings],
            ]
        )


def campaign(seed: int, suites: int, commands: int, seconds: float = 1e9) -> Campaign:
    """Run cases in an empty folder of their own."""
    made = Campaign(seed, seconds)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("bait.py").write_text(BAIT)
        Path("mutated.yaml").write_text("name: x\nproblems: [{name: a, factory: 'bait:run'}]\nbatch_sizes: [1]\n"
                                        "estimators: [naive]\nbaseline: naive\nmeasures: {bias: {}}\n")  # fmt: skip
        made.commands(commands)
        made.suites(suites)
        assert "bait" not in sys.modules
    return made


def text(made: Campaign) -> str:
    """The outcomes as a Markdown table."""
    outcomes = sorted({outcome for _, outcome in made.table})
    lines = [f"| kind | {' | '.join(outcomes)} | all |", "|---" * (len(outcomes) + 2) + "|"]
    kinds = list(dict.fromkeys(kind for kind, _ in made.table))
    for kind in [*kinds, "all"]:
        row = [
            sum(n for (k, o), n in made.table.items() if o == outcome and kind in (k, "all"))
            for outcome in outcomes
        ]
        lines.append(f"| {kind} | {' | '.join(f'{n:,}' for n in [*row, sum(row)])} |")
    return "\n".join([*lines, "", f"Longest: {made.slowest:.2f} s of CPU time."])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--suites", type=int, default=20_400)
    parser.add_argument("--commands", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after this time")
    asked = parser.parse_args()
    ended = campaign(asked.seed, asked.suites, asked.commands, asked.seconds)
    print(text(ended))
    for kind, outcome, what, said in ended.bad[:30]:
        print(
            "\n---",
            kind,
            outcome,
            repr(what)[:200],
            repr(what)[-200:],
            said[:300],
            said[-1500:],
            sep="\n",
        )
    sys.exit(bool(ended.bad))
