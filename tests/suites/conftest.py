"""The command line, which must refuse."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from vdbench import cli


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Call the command line, which must refuse in one sentence; returns the sentence."""

    def call(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["vdbench", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        assert end.value.code == 2
        assert said.out == ""
        (line,) = said.err.splitlines()
        assert line.startswith("vdbench: ")
        assert "Traceback" not in line
        assert "  " not in line
        assert line[-1] in ".?'\"" or ":" in line  # a sentence, or what another program said
        return line

    return call
