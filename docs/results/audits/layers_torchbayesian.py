"""torchbayesian: BayesianModule around nn.Linear and nn.Conv2d."""

from common import SCALE, layer
from torch import nn
from torchbayesian.bnn import BayesianModule

PRIOR = ("NORMAL", {"mu": 0.0, "sigma": SCALE})
WHERE = "module.reparametrizations.weight.variational_posterior"

layer(
    "torchbayesian",
    dense=lambda i, o: BayesianModule(nn.Linear(i, o, bias=False), prior=PRIOR),
    convolution=lambda i, o, k, **more: BayesianModule(
        nn.Conv2d(i, o, k, bias=False, **more), prior=PRIOR
    ),
    mean=f"{WHERE}.mu",
    scale=(f"{WHERE}.rho", "softplus"),
    kl="kl_divergence",
)
