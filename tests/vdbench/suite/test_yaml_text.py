"""Suites are data: what YAML they may be, how large, and that every refusal is one short sentence."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from vdbench.errors import LONGEST, InputError
from vdbench.measures.registry import load
from vdbench.suite.yaml_text import YamlError, parse

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)
SUITE: dict[str, Any] = {
    "name": "tiny",
    "problems": [{"name": "digits", "options": {"widths": [8]}}],
    "batch_sizes": [16],
    "estimators": ["naive"],
    "baseline": "naive",
    "measures": {"variance": {}},
}

READ = {
    "1e-3": 0.001,
    "-2E+5": -2e5,
    "1.5e3": 1500.0,
    ".5": 0.5,
    "1.": 1.0,
    "0": 0,
    "-7": -7,
    "1_000": 1000,
    "0x1F": 31,
    "0b101": 5,
    "~": None,
    "": None,
    "yes": True,
    "off": False,
    "'010'": "010",
    "'2020-01-01'": "2020-01-01",
    "1.2.3": "1.2.3",
    "a: {b: &x [1], c: *x}": {"a": {"b": [1], "c": [1]}},
    "a: &x {b: 1}\nc: {<<: *x, b: 2}": {"a": {"b": 1}, "c": {"b": 2}},
}


@pytest.mark.parametrize("text", READ)
def test_what_is_read(text: str) -> None:
    assert parse(text) == READ[text]
    assert type(parse(text)) is type(READ[text])


REFUSED = {
    "octal": ("010", "leading 0"),
    "octal of YAML 1.2": ("0o17", "leading 0"),
    "negative octal": ("a: -007", "leading 0"),
    "base 60": ("1:30", "base 60"),
    "date": ("2020-01-01", "is a date"),
    "tag": ("!!int x", "tags"),
    "code": ("!!python/object/apply:os.system ['touch RAN']", "tags"),
    "tag of its own": ("!mine x", "tags"),
    "recursive list": ("a: &a [*a]", "stands within"),
    "recursive mapping": ("a: &a {b: *a}", "stands within"),
    "twice": ("a: 1\na: 2", "given twice"),
    "a list as key": ("? [a]\n: 1", "a key is a list"),
    "depth": ("[" * 60_000, "levels"),
    "bomb": (BOMB, "aliases written out"),
    "length": ("x " * 40_000, "VDBENCH_LIMITS=2"),
    "digits": ("9" * 5000, "characters"),
    "control character": ("a: \x01", r"'\x01'"),
    "no letter": (r'"\U00110000"', ""),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused(kind: str) -> None:
    text, expected = REFUSED[kind]
    began = time.process_time()
    with pytest.raises(YamlError) as error:
        parse(text)
    assert expected in error.value.problem
    assert len(error.value.problem) < 200
    assert time.process_time() - began < 1
    assert not Path("RAN").exists()


def test_an_alias_bomb_ends_at_once() -> None:
    began = time.process_time()
    with pytest.raises(YamlError, match="more than 20,000"):
        parse(BOMB)
    assert time.process_time() - began < 0.1


BAD: dict[str, tuple[str, str]] = {
    "a seed too large": ("seed=18446744073709551616", r"2\*\*63"),
    "a negative seed": ("seed=-1", "seed"),
    "threads": ("threads=1000000", "1,000,000 threads, more than 1,024; VDBENCH_LIMITS=977"),
    "units": ("measures.variance.max_units=10000000000", "max_units"),
    "no number": ("measures.variance.precision=.nan", "finite number"),
    "a long name": (f"problems.0.name={'x' * 201}", "at most 200 bytes"),
    "a long name in bytes": (f"problems.0.name={'é' * 101}", "at most 200 bytes"),
    "half a character": (r'problems.0.name="\ud800"', "expected text"),
    "a key that is no word": ("problems.0.options={~: 1}", "key None"),
    "a digit of another kind": ("problems.².x=1", "'²' is no item"),
    "a large number of an item": ("problems.99999999999999.x=1", "is no item"),
    "keys without end": (".".join("a" * 100) + "=1", "more than 32 keys"),
    "a grid": (
        f"estimators=[{{name: score, options: {{samples: {list(range(2, 600))}}}}}]",
        "598 estimators",
    ),
    "a grid of grids": (
        "estimators=[{name: score, options: {"
        + ", ".join(f"{k}: {list(range(50))}" for k in ("samples", "decay", "pilot", "baseline"))
        + "}}]",
        "6,250,000 estimators",
    ),
    "a sweep": (
        f"problems.0.sweep={{key: options.widths, values: {list(range(1, 1500))}}}",
        "problems, more than 1,000",
    ),
    "cells": (f"batch_sizes={list(range(1, 15_000))}", ""),
}


@pytest.mark.parametrize("kind", BAD)
def test_numbers_names_and_grids_are_bounded(kind: str) -> None:
    setting, expected = BAD[kind]
    began = time.process_time()
    if kind == "cells":
        content = {
            **SUITE,
            "problems": [{"name": str(i)} for i in range(20)],
            "batch_sizes": list(range(1, 6000)),
        }
        with pytest.raises(InputError, match="119,980 cells, more than 100,000"):
            load(content)
    else:
        with pytest.raises(InputError, match=expected) as error:
            load(SUITE, [setting])
        assert len(str(error.value)) <= LONGEST
        assert str(error.value).isprintable()
    assert time.process_time() - began < 1


def test_limits_can_be_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VDBENCH_LIMITS", "2")
    assert load(SUITE, ["threads=2000"]).threads == 2000
    monkeypatch.setenv("VDBENCH_LIMITS", "many")
    with pytest.raises(InputError, match="VDBENCH_LIMITS=many: expected a factor"):
        load(SUITE)


def test_a_mapping_in_a_circle_is_refused() -> None:
    content = {**SUITE}
    content["problems"] = [content]
    with pytest.raises(InputError, match="levels within each other"):
        load(content)


def test_messages_show_control_characters_as_escapes() -> None:
    with pytest.raises(InputError) as error:
        load(SUITE, ['baseline="\\e]0;title\\a\\x9b31m' + "x" * 5000 + '"'])
    said = str(error.value)
    assert said.isprintable()
    assert r"\x1b]0;title\x07\x9b31m" in said
    assert len(said) <= LONGEST
