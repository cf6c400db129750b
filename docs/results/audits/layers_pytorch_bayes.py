"""PyTorch-Bayes: BayesianLinear with a normal prior."""

from common import SCALE, layer
from pytorch_bayes.nn import BayesianLinear

layer(
    "pytorch-bayes",
    dense=lambda i, o: BayesianLinear(i, o, bias=False, scale_mixture=False, sigma=SCALE),
    mean="weight_variational_posterior.mu",
    scale=("weight_variational_posterior.rho", "softplus"),
    kl=lambda m, returned: m.log_variational_posterior - m.log_prior,
)
