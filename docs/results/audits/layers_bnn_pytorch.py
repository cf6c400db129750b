"""bnn-pytorch: BLinear and BConv2d with their mixture prior.

The KL is accumulated over forward passes, so it is reset.
"""

from bnn.distributions.priors import GaussianMixture
from bnn.layers import BConv2d, BLinear
from common import MIXTURE, floor, layer

PI, WIDE, NARROW = MIXTURE


def fresh(made):
    made.register_forward_pre_hook(lambda module, inputs: module.zero_kl_div())
    return made


layer(
    "bnn-pytorch",
    dense=lambda i, o: fresh(BLinear(i, o, GaussianMixture(WIDE, NARROW, PI), bias=False)),
    convolution=lambda i, o, k, **more: fresh(
        BConv2d(i, o, k, GaussianMixture(WIDE, NARROW, PI), bias=False, **more)
    ),
    mean="weight_posterior.mean",
    scale=("weight_posterior.rho", *floor(1e-6)),
    kl="get_kl_div",
    prior=("scale-mixture", *MIXTURE),
)
