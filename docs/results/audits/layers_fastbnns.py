"""fastbnns: BayesianModule around nn.Linear and nn.Conv2d, drawn (not its propagation of moments)."""

import torch
from common import SCALE, layer
from fastbnns.bnn.priors import Distribution
from fastbnns.bnn.wrappers import BayesianModule

PRIOR = torch.distributions.Normal(
    torch.tensor(0.0, dtype=torch.float64), torch.tensor(SCALE, dtype=torch.float64)
)


def made(module):
    return BayesianModule(module, priors={"weight": Distribution(PRIOR)})


layer(
    "fastbnns",
    dense=lambda i, o: made(torch.nn.Linear(i, o, bias=False)),
    convolution=lambda i, o, k, **more: made(torch.nn.Conv2d(i, o, k, bias=False, **more)),
    mean="_module.weight",
    scale=("_module_params.weight_rho", "softplus"),
    kl="compute_kl_divergence",
)
