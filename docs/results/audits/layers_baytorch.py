"""baytorch: DiagonalGaussianLinear with a prior of its weights, and DiagonalGaussianConv2d, which takes none."""

import torch
from baytorch.bnn import DiagonalGaussianConv2d, DiagonalGaussianLinear
from common import SCALE, layer


def dense(i, o):
    prior = {"prior_weight_mean": torch.zeros(o, i), "prior_weight_std": torch.full((o, i), SCALE)}
    return DiagonalGaussianLinear(i, o, bias=False, **prior)


layer(
    "baytorch",
    dense=dense,
    convolution=lambda i, o, k, **more: DiagonalGaussianConv2d(i, o, k, bias=False, **more),
    mean="weight_mean",
    scale=("weight_rho", "softplus"),
    kl="complexity_cost",
)
