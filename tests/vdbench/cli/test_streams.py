"""Closed, full and unread streams, and encodings that lack letters: no traceback, and the command's own exit code."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest

from vdbench import cli

pytestmark = pytest.mark.usefixtures("elsewhere")

VDBENCH = f"{shlex.quote(sys.executable)} -m vdbench"
LINES = {
    "a pipe that is closed": ("{v} --help | true", 0),
    "the first line": ("{v} --help | head -1", 0),
    "a full disk": ("{v} --help > /dev/full", 0),
    "no standard output": ("{v} --help >&-", 0),
    "bad input, no standard error": ("{v} list nope 2>&-", 2),
    "bad usage, nothing at all": ("{v} nope >&- 2>&- <&-", 2),
    "bad usage, a full disk": ("{v} nope 2>/dev/full", 2),
    "letters that ASCII lacks": ("PYTHONIOENCODING=ascii:strict {v} show local", 0),
}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("kind", LINES)
def test_the_exit_code_is_the_commands_own(kind: str) -> None:
    line, code = LINES[kind]
    script = f"set -o pipefail; {line.format(v=VDBENCH)}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=False, timeout=120)
    assert (done.returncode, b"Traceback" in done.stderr, b"Exception" in done.stderr) == (
        code,
        False,
        False,
    ), done
    if code == 0:
        assert done.stderr == b""


ODD = [["list", "\x1b[31mx"], ["\x1b[31mx"], ["list", "a", "\x9b31mx"], ["show", "\x1b]0;x\x07"]]


@pytest.mark.parametrize("words", ODD)
def test_control_characters_do_not_reach_the_terminal(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["vdbench", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    said = "".join(capsys.readouterr())
    assert "\\x1b" in said or "\\x9b" in said
    assert said.replace("\n", "").isprintable()
