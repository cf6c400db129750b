"""uqdeepnn: BayesianLinear, whose bias cannot be switched off."""

from common import SCALE, layer
from deepuq.methods.vi import BayesianLinear

layer(
    "uqdeepnn",
    dense=lambda i, o: BayesianLinear(i, o, prior_sigma=SCALE),
    mean="weight_posterior.mu",
    scale=("weight_posterior.rho", "softplus"),
    bias="bias_posterior.mu",
    bias_scale=("bias_posterior.rho", "softplus"),
    kl="kl",
)
