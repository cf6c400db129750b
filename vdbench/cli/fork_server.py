"""The helper process of killed runs: imports what a run needs, and forks one that measures whenever it is asked.

Jobs come on stdin, one a line, as JSON: ``suite``, ``out``, ``cache``, ``report``. To each it answers with the
process's id, and once that has ended with its exit code. When stdin is closed it kills what runs, and ends.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
from typing import Any


def main() -> None:
    """Import once; then a process a job, one after the other."""
    _import()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _child(json.loads(line))
        _say(child)
        _say(_exit_code(child))


def _import() -> None:
    """What takes seconds, and computes nothing."""
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torch.fx.experimental.symbolic_shapes  # noqa: F401

    import vdbench.cli
    import vdbench.runner  # noqa: F401


def _say(number: int) -> None:
    print(number, flush=True)


def _exit_code(child: int) -> int:
    """Wait for a process; if the one that asks for it is gone, kill it."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if select.select([0], [], [], 0)[
            0
        ]:  # nothing is asked while a process runs: stdin is closed
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            sys.exit()
        time.sleep(0.002)


def _child(job: dict[str, Any]) -> None:
    code = 1
    try:
        os.environ["VDBENCH_CACHE"] = job["cache"]
        log = os.open(f"{job['out']}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for stream, file in ((0, nothing), (1, log), (2, log)):
            os.dup2(file, stream)
        run(job["suite"], job["out"], job["report"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(suite: str, out: str, report: bool) -> None:
    """``vdbench run``, or without its report the call behind the command."""
    if report:
        from vdbench.cli import main as command

        sys.argv = ["vdbench", "run", suite, "--out", out]
        command()
    else:
        from vdbench.runner import run as call

        call(suite, out)


if __name__ == "__main__":
    main()
