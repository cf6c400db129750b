"""bayes-regression: BayesianLinear. Both components of the mixture prior are the same normal."""

from Bayes.modules import BayesianLinear
from common import SCALE, layer

layer(
    "bayes-regression",
    dense=lambda i, o: BayesianLinear(i, o, bias=False, prior_sigma1=SCALE, prior_sigma2=SCALE),
    mean="weight_mu",
    scale=("weight_rho", "softplus"),
    kl="kl_divergence",
)
