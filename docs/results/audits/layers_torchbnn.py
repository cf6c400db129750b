"""torchbnn: BayesLinear and BayesConv2d, and the KL of bayesian_kl_loss as a sum (its default is a mean)."""

from common import SCALE, layer
from torchbnn.functional import bayesian_kl_loss
from torchbnn.modules import BayesConv2d, BayesLinear

layer(
    "torchbnn",
    dense=lambda i, o: BayesLinear(0.0, SCALE, i, o, bias=False),
    convolution=lambda i, o, k, **more: BayesConv2d(0.0, SCALE, i, o, k, bias=False, **more),
    mean="weight_mu",
    scale=("weight_log_sigma", "exp"),
    kl=lambda m, returned: bayesian_kl_loss(m, reduction="sum"),
)
