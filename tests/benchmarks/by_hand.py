"""The variance of five estimators by a loop of fixed length, as a careful user writes it: no vdbench, one process.

    python by_hand.py UNITS [NAME…]

Digits, a network 64-32-32-10, ten epochs of training by hand, then UNITS units for each estimator: two minibatches, two
draws on each, and from the four gradients the noise and the total variance of every layer and role, averaged over its
parameters, with standard errors. Prints them as JSON.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
import plain

WIDTHS = (64, 32, 32, 10)
SIZE = 32
SAMPLES = 4
NAMES = ("deterministic", "naive", "per-example", "local", "score")
ROLES = ("mean", "log_variance", "bias")


def gradient(name: str, weights: plain.Weights, scale: float) -> Callable[..., list[Tensor]]:
    """One draw of an estimator's gradient on a minibatch."""
    if name == "score":
        return lambda x, y: plain.score(weights, x, y, scale, SAMPLES)
    return lambda x, y: plain.pathwise(weights, x, y, scale, plain.PATHWISE[name])


def unit(draw: Callable[..., list[Tensor]], x: Tensor, y: Tensor, noisy: bool) -> Tensor:
    """Noise and total of every parameter tensor, (2, tensors)."""
    a, b = torch.randint(len(x), (2, SIZE))
    a1, b1 = draw(x[a], y[a]), draw(x[b], y[b])
    if not noisy:
        total = [(p - q).square().mean() / 2 for p, q in zip(a1, b1, strict=True)]
        return torch.stack([torch.zeros(len(total)), torch.stack(total)])
    a2, b2 = draw(x[a], y[a]), draw(x[b], y[b])
    noise, total = [], []
    for p, q, r, s in zip(a1, a2, b1, b2, strict=True):
        d = (p - q).square().mean() + (r - s).square().mean()
        u = (p + q - r - s).square().mean()
        noise.append(d / 4)
        total.append((u + d) / 8)
    return torch.stack([torch.stack(noise), torch.stack(total)])


def main(units: int, names: tuple[str, ...]) -> None:
    """Train, then measure each estimator."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = load_digits()
    x = torch.tensor(data.data / 16, dtype=torch.float32)[:1437]
    y = torch.tensor(data.target)[:1437]
    weights = []
    for inputs, outputs in itertools.pairwise(WIDTHS):
        mean = torch.randn(outputs, inputs) * math.sqrt(2 / inputs)
        variance = torch.full((outputs, inputs), 2 * math.log(0.05))
        weights.append((mean, variance, torch.zeros(outputs)))
    weights = [tuple(t.requires_grad_() for t in triple) for triple in weights]
    plain.training(weights, x, y, 64, plain.local, 0.003)(10 * (len(x) // 64))
    found = {}
    for name in names:
        draw = gradient(name, weights, len(x) / SIZE)
        rows = torch.stack([unit(draw, x, y, name != "deterministic") for _ in range(units)])
        mean, error = rows.double().mean(0), rows.double().std(0) / math.sqrt(units)
        found[name] = {"value": mean.tolist(), "error": error.tolist()}
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), tuple(sys.argv[2:]) or NAMES)
