"""What a million random numbers cost: torch's generator, noise by counter, and numpy's generators.

All take turns in one process; the table has milliseconds of processor time on one thread, median and range over rounds,
and the ratio to torch's of the same round.

    python -m pytest tests/benchmarks/test_noise.py --benchmark-only -s
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from vdbench.noise import PHILOX, TORCH, Key, Request, draws

MILLION = 2**20
ROUNDS = 9

Take = Callable[[], object]


def by(noise: str, law: str, dtype: torch.dtype, rows: int = 1, each: int = MILLION) -> Take:
    """``rows`` draws of ``each`` numbers, at new addresses in every call."""
    out = torch.empty(rows, each, dtype=dtype)
    request = Request(("layer",), (each,), law)
    unit = 0

    def take() -> None:
        nonlocal unit
        unit += rows
        place = Key(("benchmark", 0, "problem", "initial", 32, "variance", "unit"), noise)
        draws([place / (unit + k) / "a" / "draw" / 1 for k in range(rows)], request, out)

    return take


def numpys(name: str, dtype: torch.dtype) -> Take:
    generator = np.random.Generator(getattr(np.random, name)(0))
    kind = np.float32 if dtype == torch.float32 else np.float64
    return lambda: generator.standard_normal(MILLION, dtype=kind)


def coins() -> Take:
    """How signs were made before: one number of the generator each."""
    out, generator = torch.empty(MILLION), torch.Generator().manual_seed(0)
    return lambda: out.bernoulli_(0.5, generator=generator).mul_(2).sub_(1)


def milliseconds(ways: dict[str, Take], numbers: int) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """Of each way, per million numbers, in every round; the first round warms up."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(ROUNDS + 1):
        for name, take in ways.items():
            began = time.process_time()
            take()
            if round_:
                found[name].append(1e9 * (time.process_time() - began) / numbers)
    return {name: np.array(values) for name, values in found.items()}


def told(what: str, found: dict[str, np.ndarray]) -> None:  # type: ignore[type-arg]
    for name, values in found.items():
        ratio = np.median(values / found[TORCH])
        print(
            f"\n{what}, {name}: {np.median(values):.2f} ms a million ({values.min():.2f} to {values.max():.2f}), "
            f"{ratio:.2f} × torch's",
            end="",
        )
    print()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("law", ["normal", "uniform", "sign"])
def test_a_million(benchmark, law: str, dtype: torch.dtype) -> None:
    torch.set_num_threads(1)
    ways = {noise: by(noise, law, dtype) for noise in (TORCH, PHILOX)}
    if law == "normal":
        ways |= {f"numpy's {name}": numpys(name, dtype) for name in ("Philox", "SFC64")}
    if law == "sign" and dtype == torch.float32:
        ways["a number each"] = coins()
    told(f"{law}, {str(dtype).removeprefix('torch.')}", milliseconds(ways, MILLION))
    benchmark.pedantic(ways[PHILOX], rounds=1)


@pytest.mark.parametrize(("rows", "each"), [(1, 1024), (64, 16), (64, 1024), (64, 16384)])
@pytest.mark.parametrize("law", ["normal", "sign"])
def test_draws_of_a_layer(benchmark, law: str, rows: int, each: int) -> None:
    """Noise of a few draws at once: what an address costs, beside the numbers."""
    torch.set_num_threads(1)
    ways = {noise: by(noise, law, torch.float32, rows, each) for noise in (TORCH, PHILOX)}
    told(f"{law}, {rows} draws of {each}", milliseconds(ways, rows * each))
    benchmark.pedantic(ways[PHILOX], rounds=1)
