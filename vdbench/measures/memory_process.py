"""The helper process of the memory measure: reads what is sent along and a job a line, writes a list of bytes each."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import torch

from vdbench import problems
from vdbench.arithmetic import STORAGE
from vdbench.estimation import registry
from vdbench.estimation.draws import call, fitted, gather, minibatch
from vdbench.estimation.options import get
from vdbench.noise import Key, stream
from vdbench.training.trainer import load_parameters


def main() -> None:
    """Fork a process for each repetition and collect what it measured."""
    stream_in = sys.stdin.buffer
    content = stream_in.read(int(stream_in.readline()))
    for number, line in enumerate(stream_in):
        job = json.loads(line)
        if not number:
            for plugin in job["plugins"]:
                registry.load_plugin(plugin)
            held, others = pickle.loads(content) if content else (None, {})
            registry.discover()
            registry.add(others)
        job["held"] = held
        print(json.dumps([_fork(job, r) for r in range(job["repetitions"])]), flush=True)


def _fork(job: dict[str, Any], repetition: int) -> int:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(write, str(measure(job, repetition)).encode())
            code = 0
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        if os.WIFSIGNALED(status):
            print(f"killed by signal {os.WTERMSIG(status)}, out of memory?", file=sys.stderr)
        raise SystemExit(1)
    return int(text)


def measure(job: dict[str, Any], repetition: int) -> int:
    """Peak bytes of one gradient above what was held before it."""
    torch.set_num_threads(job["threads"])
    device, dtype = torch.device(job["device"]), STORAGE[job["precision"]]
    built = job.get("held") or problems.build(**job["problem"])
    problem = built.in_precision(device, job["precision"])
    saved = load_parameters(Path(job["parameters"]))
    parameters = {n: torch.from_numpy(v.copy()).to(device, dtype) for n, v in saved.items()}
    estimator = get(job["estimator"], **job["options"])
    key = Key(tuple(job["key"]), job["noise"]) / "memory" / repetition
    batch = gather(problem, minibatch(problem, job["batch_size"], key))
    state = fitted(estimator, problem, parameters, key / "fit")

    def one(step: int) -> None:
        place = key / step
        call(estimator, problem, parameters, batch, stream(place, device, dtype), place, state)

    one(0)  # loads what libraries load at their first call of this size
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        one(1)
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device)) - before
    gc.collect()
    give_free_memory_back()
    before = reset_peak()
    one(1)
    return peak() - before


def give_free_memory_back() -> None:
    """Have the allocator return what it holds in reserve, so that the next gradient asks the system for it again.

    Raises:
        OSError: The C library is not glibc: it has no such call.
    """
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except AttributeError as error:
        raise OSError("measuring memory needs glibc's malloc_trim") from error


def reset_peak() -> int:
    """Set the high-water mark of the resident set back to what is resident now; returns that, in bytes.

    Raises:
        OSError: The system is no Linux: it has no such mark to set back.
    """
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    """Highest resident set since `reset_peak`, in bytes."""
    return _status("VmHWM")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    main()
