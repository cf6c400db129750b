"""Estimators that misbehave, a file of them: what each does, and what a run must say of it.

``python tests/helpers/misbehaving.py`` runs each of them alone among well-behaved ones (part of ``make faults``).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from fault_campaign import cache

import vdbench
from vdbench.measures.instrument.crash_recovery import TIMED
from vdbench.runner.results import FILE
from vdbench.store import tables

HEAD = """\
import ctypes, os, random, signal, sys, time
from dataclasses import dataclass
import numpy as np, torch, vdbench
"""

CLASS = """

calls = {{}}

@vdbench.register("{name}", objective="elbo", unbiased=True, laws=("normal",), independent_examples=False, pure=False)
@dataclass(frozen=True)
class Made(vdbench.Pathwise):
    def preactivation(self, layer, x, q, noise):
        return layer.linear(x, q.mean + q.scale * noise(layer.name, q.mean.shape))

    def __call__(self, problem, parameters, batch, noise, state):
        calls["n"] = calls.get("n", 0) + 1
        value, gradients = super().__call__(problem, parameters, batch, noise, state)
        if calls["n"] > {after}:
            value, gradients = self.misbehave(value, gradients, problem, parameters, batch)
        return vdbench.Gradient(value, gradients)

    def misbehave(self, value, gradients, problem, parameters, batch):
{body}
        return value, gradients
"""


class Case(NamedTuple):
    """An estimator that misbehaves.

    Attributes:
        body: What it does, as lines of its code.
        cause: What the message of its failure must have.
        after: Calls that go well.
        stands: Metrics that stand, as each call for itself is right.
    """

    body: str
    cause: str
    after: int = 1
    stands: str = ""


CASES: dict[str, Case] = {
    # writes into what is everybody's
    "parameter": Case("next(iter(parameters.values())).mul_(2)", "changed parameter 'fc1.mean'"),
    "parameter-data": Case("parameters['fc1.bias'].data.add_(1)", "changed parameter 'fc1.bias'"),
    "parameter-numpy": Case("parameters['fc2.mean'].numpy()[0, 0] = 7", "changed parameter 'fc2.mean'"),
    "data": Case("problem.data.train.inputs.zero_()", "changed the training data's inputs"),
    "data-order": Case("problem.data.train.targets.copy_(problem.data.train.targets.flip(0))",
                       "changed the training data's targets"),
    "start": Case("problem.start['fc1.mean'].add_(1)", "changed the initial value of parameter 'fc1.mean'"),
    "layer": Case("next(m for m in problem.module.modules() if not list(m.children())).twice = 2",
                  "of the network"),
    "hook": Case("problem.module.register_forward_hook(lambda m, i, o: o * 2)", "changed the network"),
    # the state of the process
    "default-type": Case("torch.set_default_dtype(torch.float64)", "changed torch's default type"),
    "grad-mode": Case("torch._C._set_grad_enabled(False)", "changed whether torch takes gradients"),
    "threads": Case("torch.set_num_threads(2)", "changed torch's number of threads"),
    "deterministic": Case("torch.use_deterministic_algorithms(True)", "changed torch's deterministic algorithms"),
    "numpy-seed": Case("np.random.seed(0)", "changed numpy's global random numbers"),
    "python-seed": Case("random.seed(0)", "changed Python's global random numbers"),
    "folder": Case("os.chdir('/')", "changed the current folder"),
    "torch-function": Case("torch.randn = lambda *a, **k: torch.zeros(*a)", "changed torch.randn"),
    "tensor-method": Case("torch.Tensor.square = lambda self: self", "changed torch.Tensor.square"),
    "vdbench-function": Case("from vdbench.measures import variance_units\n"
                             "        variance_units.rows = lambda *a: 0",
                             "changed vdbench.measures.variance_units.rows"),
    "vdbench-method": Case("type(problem).kl = lambda *a: 0", "changed vdbench.problems.problem.Problem.kl"),
    # what it returns
    "one-buffer": Case("kept = calls.setdefault('b', {k: v.clone() for k, v in gradients.items()})\n"
                       "        gradients = {k: kept[k].copy_(v) for k, v in gradients.items()}",
                       "over that of the call before", stands=rf"{TIMED}|bias"),
    "shared": Case("gradients['fc1.log_variance'] = gradients['fc1.mean']", "share memory"),
    "integer": Case("gradients = {k: v.long() for k, v in gradients.items()}", "of type torch.int64"),
    "complex": Case("gradients = {k: v + 0j for k, v in gradients.items()}", "of type torch.complex64"),
    "double": Case("gradients = {k: v.double() for k, v in gradients.items()}", "of type torch.float64"),
    "shape": Case("gradients['fc1.bias'] = gradients['fc1.bias'][None]", "gradient of shape (1, 3)"),
    "names": Case("gradients['fc9.mean'] = gradients.pop('fc1.mean')", "missing or superfluous: fc1.mean, fc9.mean"),
    "nothing": Case("gradients = None", "missing or superfluous"),
    "list": Case("gradients['fc1.bias'] = [0.0] * 3", "returns list as the gradient for 'fc1.bias'"),
    "not-a-number": Case("gradients = {k: v * float('nan') for k, v in gradients.items()}", "is not finite",
                         stands=TIMED),
    # ends
    "raises": Case("raise RuntimeError('of a test')", "RuntimeError: of a test (traceback in errors.log)"),
    "sys-exit": Case("sys.exit(0)", "SystemExit: 0"),
    "os-exit": Case("os._exit(0)", "its process ended with exit code 0"),
    "os-exit-3": Case("os._exit(3)", "its process ended with exit code 3"),
    "system-exit": Case("raise SystemExit('enough')", "SystemExit: enough"),
    "interrupt": Case("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "base": Case("raise type('Odd', (BaseException,), {})('odd')", "Odd: odd"),
    "mute": Case("raise type('Mute', (Exception,), {'__str__': lambda s: 1 / 0})()", "its message cannot be told"),
    "segfault": Case("ctypes.string_at(0)", "ended by signal SIGSEGV"),
    "abort": Case("os.abort()", "ended by signal SIGABRT"),
    "killed": Case("os.kill(os.getpid(), signal.SIGKILL)", "ended by signal SIGKILL"),
    "terminated": Case("os.kill(os.getpid(), signal.SIGTERM)", "ended by signal SIGTERM"),
    "group": Case("os.killpg(0, signal.SIGKILL)", "ended by signal SIGKILL"),
    "hang": Case("time.sleep(1000)", "within the time limit"),
    "busy": Case("signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\n        while True: pass",
                 "within the time limit"),
    "stopped": Case("os.kill(os.getpid(), signal.SIGSTOP)", "within the time limit"),
    "memory": Case("calls['hog'] = [torch.ones(2**28) for _ in range(10000)]", "out of memory"),
    "memory-list": Case("calls['hog'] = [bytes(2**26) for _ in range(100000)]", "out of memory"),
    "recursion": Case("return self.misbehave(value, gradients, problem, parameters, batch)", "RecursionError"),
    "pipes": Case("os.closerange(0, 1000); time.sleep(1000)", "closed the pipe"),
    "garbage": Case("for f in range(3, 64):\n            try: os.write(f, b'\\xff' * 64)\n"
                    "            except OSError: pass\n"
                    "        time.sleep(1000)", "is no message"),
    "stderr": Case("os.close(2); sys.stderr.close(); raise ValueError('unheard')", "ValueError: unheard"),
    "prints": Case("print('last words', flush=True); os._exit(1)", "it last printed: last words"),
    "third-call": Case("raise RuntimeError('at the third call')", "at the third call", after=3),
    "fifth-call": Case("os._exit(5)", "exit code 5", after=5),
    "thread": Case("import threading\n        threading.Thread(target=time.sleep, args=(1000,)).start()\n"
                   "        raise ValueError('with a thread')", "ValueError: with a thread"),
    "child": Case("os.fork() or time.sleep(1000); os._exit(4)", "exit code 4"),
}  # fmt: skip
"""By name."""

SUITE: dict[str, Any] = {
    "name": "misbehaving",
    "threads": 1,
    "timeout": 60,
    "memory": 2,
    "problems": [{"name": "p", "factory": "classification", "options": {"widths": [3]}}],
    "batch_sizes": [4],
    "estimators": ["naive", "local"],
    "baseline": "naive",
    "measures": {
        "throughput": {"rounds": 8, "budget_seconds": 0.2},
        "variance": {"first_units": 4, "max_units": 8, "precision": 0.001},
        "bias": {"units": 4, "draws": 1},
    },
}
HANGING = ("hang", "busy", "stopped")
"""Cases that end by the time limit."""

OWN = ["problem", "checkpoint", "batch_size", "label", "metric", "layer", "role", "against"]


class Found(NamedTuple):
    """What became of a run with one that misbehaves.

    Attributes:
        name: Of the case.
        wrong: What is not as it must be; '' if nothing.
    """

    name: str
    wrong: str


def write(folder: Path, names: list[str]) -> list[str]:
    """Files of some cases."""
    files = []
    for name in names:
        case = CASES[name]
        body = "".join(f"        {line}" for line in case.body.splitlines(keepends=True)[:1])
        body += "".join(case.body.splitlines(keepends=True)[1:])
        path = folder / f"bad_{name.replace('-', '_')}.py"
        path.write_text(HEAD + CLASS.format(name=f"bad-{name}", after=case.after, body=body))
        files.append(str(path))
    return files


def figures(run: Path) -> pd.DataFrame:
    """What is promised to be equal, of the well-behaved ones and among them."""
    table = tables.read_frame(run / FILE)[0]
    ours = table["label"].isin(["naive", "local"]) & ~table["against"].str.startswith("bad-")
    # levels of comparisons depend on how many are compared
    ours &= ~table["metric"].str.startswith(("pairwise.", "adjusted."))
    ours &= ~table["metric"].str.contains(TIMED)
    return table[ours].drop(columns="seconds").reset_index(drop=True)


def run(folder: Path, names: list[str], jobs: int = 2) -> Iterator[Found]:
    """A run with some cases, and what is wrong with it."""
    files = write(folder, names)
    content = {**SUITE, "estimators": ["naive", *(f"bad-{name}" for name in names), "local"]}
    if set(names) & set(HANGING):
        content["timeout"] = 20
    with cache(folder / "cache"):
        done = vdbench.run(content, folder / "run", plugins=files, jobs=jobs, isolate=True)
        vdbench.run(SUITE, folder / "alone", isolate=True)
    table = done.results
    same = figures(folder / "run").equals(figures(folder / "alone"))
    times = table[table["metric"] == "time.seconds_per_gradient"]
    timed = {"naive", "local"} <= set(times[times["status"] != "failed"]["label"])
    for name in names:
        mine = table[table["label"] == f"bad-{name}"]
        if CASES[name].stands:
            mine = mine[
                ~mine["metric"].str.contains(CASES[name].stands) | (mine["status"] == "failed")
            ]
        causes = set(mine["message"])
        wrong = ""
        if set(mine["status"]) != {"failed"}:
            wrong = f"it has figures: {sorted(set(mine['metric'][mine['status'] != 'failed']))[:3]}"
        elif not all(CASES[name].cause in cause for cause in causes):
            wrong = f"its causes are {sorted(causes)}"
        elif not same or not timed:
            wrong = "the figures of others differ" if not same else "others have no times"
        yield Found(name, wrong)


def main() -> None:
    """All cases, some at a time; exit code 1 where one is not as it must be."""
    names, bad = sys.argv[1:] or list(CASES), 0
    for start in range(0, len(names), 6):
        with tempfile.TemporaryDirectory() as folder:
            for found in run(Path(folder), names[start : start + 6]):
                bad += bool(found.wrong)
                print(
                    f"{found.name:20}{found.wrong or 'recorded, and the others as without it'}",
                    flush=True,
                )
    print(f"{len(names)} cases, {bad} not as they must be")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
