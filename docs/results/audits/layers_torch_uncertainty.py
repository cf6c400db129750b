"""torch-uncertainty: BayesLinear and BayesConv2d with a mixture prior."""

import stand_in  # noqa: F401
from common import MIXTURE, layer
from torch_uncertainty.layers.bayesian import BayesConv2d, BayesLinear

PRIORS = dict(zip(("prior_pi", "prior_sigma_1", "prior_sigma_2"), MIXTURE, strict=True))

layer(
    "torch-uncertainty",
    dense=lambda i, o: BayesLinear(i, o, bias=False, **PRIORS),
    convolution=lambda i, o, k, **more: BayesConv2d(i, o, k, bias=False, **PRIORS, **more),
    mean="weight_mu",
    scale=("weight_sigma", "softplus"),
    kl=lambda m, returned: m.log_variational_posterior - m.log_prior,
    prior=("scale-mixture", *MIXTURE),
)
