"""Files of estimators, written for a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from vdbench.errors import InputError

HEAD = """\
from dataclasses import dataclass, field

import vdbench

"""

GOOD = """\
@vdbench.register(
    "mine", objective="elbo", unbiased=True, laws=("normal",), independent_examples=True
)
@dataclass(frozen=True)
class Mine(vdbench.Pathwise):
    '''My own.'''

    width: int = 3

    def preactivation(self, layer, x, q, noise):
        return layer.linear(x, q.mean)
"""


def plugin(folder: Path, text: str, name: str = "mine.py") -> Path:
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def one_sentence(error: pytest.ExceptionInfo[InputError]) -> str:
    """The message; it must be one line that ends as a sentence does or with what another program said."""
    message = str(error.value)
    assert message
    assert "\n" not in message
    assert "Traceback" not in message
    return message


WRAPPER = """\
@vdbench.register("twice", version="7")
@dataclass(frozen=True)
class Twice(vdbench.Wrapper):
    '''The same gradient, times one.'''

    of: vdbench.Estimator = field(default_factory=lambda: vdbench.get("local"))
    power: int = 1

    def __call__(self, problem, parameters, batch, noise, state=()):
        return self.of(problem, parameters, batch, noise, state)
"""
