"""blitz-bayesian-pytorch: BayesianLinear and BayesianConv2d with a mixture prior.

The sampler's parameters are the ones that are trained.
"""

from blitz.modules import BayesianConv2d, BayesianLinear
from common import MIXTURE, layer

PRIORS = dict(zip(("prior_pi", "prior_sigma_1", "prior_sigma_2"), MIXTURE, strict=True))


def trained(made):
    """Without the second set of parameters, which no gradient reaches."""
    for name in ("weight_mu", "weight_rho", "bias_mu", "bias_rho"):
        delattr(made, name)
    return made


layer(
    "blitz",
    dense=lambda i, o: trained(BayesianLinear(i, o, **PRIORS)),
    convolution=lambda i, o, k, **more: trained(BayesianConv2d(i, o, k, **PRIORS, **more)),
    mean="weight_sampler.mu",
    scale=("weight_sampler.rho", "softplus"),
    bias="bias_sampler.mu",
    bias_scale=("bias_sampler.rho", "softplus"),
    kl=lambda m, returned: m.log_variational_posterior - m.log_prior,
    prior=("scale-mixture", *MIXTURE),
)
