"""bnn-pytorch: BLinear and BConv2d with a normal prior. The KL is accumulated over forward passes, so it is reset."""

from bnn.distributions.priors import DiagonalNormal
from bnn.layers import BConv2d, BLinear
from common import SCALE, floor, layer


def fresh(made):
    made.register_forward_pre_hook(lambda module, inputs: module.zero_kl_div())
    return made


layer(
    "bnn-pytorch",
    dense=lambda i, o: fresh(BLinear(i, o, DiagonalNormal(0, SCALE), bias=False)),
    convolution=lambda i, o, k, **more: fresh(
        BConv2d(i, o, k, DiagonalNormal(0, SCALE), bias=False, **more)
    ),
    mean="weight_posterior.mean",
    scale=("weight_posterior.rho", *floor(1e-6)),
    kl="get_kl_div",
)
