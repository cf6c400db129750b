"""bayes-regression: BayesianLinear with its mixture prior."""

from Bayes.modules import BayesianLinear
from common import MIXTURE, layer

PI, WIDE, NARROW = MIXTURE

layer(
    "bayes-regression",
    dense=lambda i, o: BayesianLinear(
        i, o, bias=False, prior_pi=PI, prior_sigma1=WIDE, prior_sigma2=NARROW
    ),
    mean="weight_mu",
    scale=("weight_rho", "softplus"),
    kl="kl_divergence",
    prior=("scale-mixture", *MIXTURE),
)
