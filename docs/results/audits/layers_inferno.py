"""inferno-torch: bnn.Linear and bnn.Conv2d with DiagonalCovariance, and the KL of VariationalFreeEnergy."""

import stand_in  # noqa: F401
import torch
from common import SCALE, layer
from inferno import bnn
from inferno.loss_fns.variational_free_energy import _kl_normal_normal


def kl(module, returned):
    mean, scale = module.params.weight, module.params.cov.scale["weight"]
    zero = torch.zeros_like(mean)
    return _kl_normal_normal(mean, scale, zero, zero + SCALE).sum()


layer(
    "inferno-torch",
    dense=lambda i, o: bnn.Linear(i, o, bias=False, cov=bnn.params.DiagonalCovariance()),
    convolution=lambda i, o, k, **more: bnn.Conv2d(
        i, o, k, bias=False, cov=bnn.params.DiagonalCovariance(), **more
    ),
    mean="params.weight",
    scale=("params.cov.scale.weight", "identity"),
    kl=kl,
)
