"""torch-uncertainty: BayesLinear and BayesConv2d. Both components of the mixture prior are the same normal."""

import stand_in  # noqa: F401
from common import SCALE, layer
from torch_uncertainty.layers.bayesian import BayesConv2d, BayesLinear

PRIORS = {"prior_sigma_1": SCALE, "prior_sigma_2": SCALE, "prior_pi": 0.5}

layer(
    "torch-uncertainty",
    dense=lambda i, o: BayesLinear(i, o, bias=False, **PRIORS),
    convolution=lambda i, o, k, **more: BayesConv2d(i, o, k, bias=False, **PRIORS, **more),
    mean="weight_mu",
    scale=("weight_sigma", "softplus"),
    kl=lambda m, returned: m.log_variational_posterior - m.log_prior,
)
