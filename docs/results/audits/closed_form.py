"""Mean gradient of one layer beside the closed form: `python closed_form.py [DRAWS] [layers_NAME.py ...]`.

The checks of vdbench are not used, only its list of each layer's parameters. Dense: ½Σ(b − y)², whose mean has the
gradient xᵀ(xμ − y) in μ and σΣx² in σ. Convolution: ½Σ(Σb − y)², the inner sum over the places and channels of an
example, which tells weights shared by all places from noise of each place.
"""

import csv
import sys
import warnings
import zlib
from pathlib import Path

import torch
from torch.func import functional_call
from torch.nn.functional import unfold

import vdbench
from vdbench.errors import InputError
from vdbench.estimation import registry
from vdbench.problems.layers import Convolution, Layer
from vdbench.problems.posterior import Posterior

HERE = Path(__file__).resolve().parent
DENSE, CONVOLUTION = Layer("dense", (2, 3)), Convolution("convolution", (2, 1, 2, 2))


def normal(*shape):
    return torch.randn(shape, dtype=torch.float64)


def exact(layer, x, y, mu, sigma):
    """Gradients in μ and σ of the mean loss; of a convolution also in σ with noise of each place."""
    if layer is DENSE:
        return x.mT @ (x @ mu.mT - y), (sigma * x.square().sum(0)), None
    patches = unfold(x, 2)  # (examples, weights of a channel, places)
    s = patches.sum(2)
    residual = s @ mu.flatten(1).sum(0) - y
    of = sigma.flatten(1)
    local = of * patches.square().sum((0, 2))
    return (residual @ s).expand(2, 4), of * s.square().sum(0), local


def loss(layer, b, y):
    return 0.5 * ((b - y) if layer is DENSE else (b.flatten(1).sum(1) - y)).square().sum()


def measure(spec, layer, draws):
    """Means of the gradients along the exact ones, with standard errors: μ, σ, and σ if noise is local.

    Targets are the mean outputs for σ and 10 less for μ, where there is little noise. Each layer has its own seed.
    """
    torch.manual_seed(1)
    x = normal(4, 3) if layer is DENSE else 1 + 0.3 * normal(4, 1, 3, 3)
    mu = normal(*layer.weight_shape)
    sigma = 0.5 + 0.5 * torch.rand(layer.weight_shape, dtype=torch.float64)
    outputs = x @ mu.mT if layer is DENSE else unfold(x, 2).sum(2) @ mu.flatten(1).sum(0)
    torch.manual_seed(zlib.crc32(f"{spec.name} {layer.name}".encode()))
    mean = along(spec, layer, x, outputs - 10, mu, sigma, draws // 4)[:1]
    return mean + along(spec, layer, x, outputs, mu, sigma, draws)[1:]


def along(spec, layer, x, y, mu, sigma, draws):
    """Gradients at targets y, in units of the exact ones: means and standard errors."""
    truths = exact(layer, x, y, mu, sigma)
    mu, sigma = mu.clone().requires_grad_(), sigma.clone().requires_grad_()
    module = spec.module(layer, x)
    rows = []
    for _ in range(draws):
        values = spec.parameters(module, Posterior(mu, sigma, sigma.square()))
        b = functional_call(module, values, (x,))
        b = b[spec.output] if spec.output is not None else b
        g = torch.autograd.grad(
            loss(layer, b, y), (mu, sigma), materialize_grads=True, allow_unused=True
        )
        in_mean = _along(g[0], truths[0].mT if layer is DENSE else truths[0])
        rows.append([in_mean, *(_along(g[1], t) for t in truths[1:] if t is not None)])
    found = torch.tensor(rows, dtype=torch.float64)
    error = found.std(0) / draws**0.5
    return list(zip(found.mean(0).tolist(), error.tolist(), strict=True))


def _along(g, truth):
    g = g.reshape(truth.shape)
    return float((g * truth).sum() / truth.square().sum())


HEADER = (
    "layer",
    "kind",
    "objective",
    "role",
    "draws",
    "mean / exact",
    "standard error",
    "in s.e.",
)
ROLES = [("elbo", "mean"), ("elbo", "scale"), ("elbo-local-noise", "scale")]


def main(draws, files):
    with (HERE / "closed_form.csv").open("w") as f:
        out = csv.writer(f)
        out.writerow(HEADER)
        for file in files:
            try:
                names = registry.load_plugin(file)
            except InputError as error:
                print(f"{file.name}: {error}", flush=True)
                continue
            for row in (row for name in names for row in of(vdbench.get(name).spec, draws)):
                out.writerow(row)
                print(*row, flush=True)


def of(spec, draws):
    """Rows of the table, for each kind of layer that there is."""
    for layer in (DENSE, CONVOLUTION):
        if (spec.dense if layer is DENSE else spec.convolution) is None:
            continue
        found = measure(spec, layer, draws)
        for (objective, role), (mean, error) in zip(ROLES, found, strict=False):
            used = draws if role == "scale" else draws // 4
            z = abs(mean - 1) / error if error else float("inf") * (mean != 1)
            figures = (f"{mean:.4f}", f"{error:.4f}", f"{z:.1f}")
            yield (spec.name, layer.name, objective, role, used, *figures)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    arguments = sys.argv[1:] or ["20000"]
    main(int(arguments[0]), [HERE / a for a in arguments[1:]] or sorted(HERE.glob("layers_*.py")))
