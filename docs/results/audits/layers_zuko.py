"""zuko: BayesianModel around nn.Linear and nn.Conv2d, with and without its local trick."""

import torch
from common import PRIOR, layer
from zuko.bayesian import BayesianModel

BOUND = 18.0


def forward(p):
    return (p * (1 + (p / BOUND).square()).rsqrt() / 2).exp()


def inverse(s):
    """There is no way back from variances beyond e^±18."""
    most = BOUND * (1 - 4 * torch.finfo(s.dtype).eps)
    y = (2 * s.log()).clamp(-most, most)
    return y * (1 - (y / BOUND).square()).rsqrt()


class One(torch.nn.Module):
    """One draw of a Bayesian model."""

    def __init__(self, base, local):
        super().__init__()
        # a bare nn.Linear is never drawn locally: its name is empty
        self.model, self.local = BayesianModel(torch.nn.Sequential(base)), local

    def forward(self, x):
        with self.model.reparameterize(self.local) as net:
            return net(x)


NAMES = {
    "mean": "model.means.0-weight",
    "scale": ("model.logvars.0-weight", forward, inverse),
    "kl": lambda m, returned: m.model.kl_divergence(PRIOR),
}

layer(
    "zuko",
    dense=lambda i, o: One(torch.nn.Linear(i, o, bias=False), False),
    convolution=lambda i, o, k, **more: One(torch.nn.Conv2d(i, o, k, bias=False, **more), False),
    **NAMES,
)
layer(
    "zuko-local",
    dense=lambda i, o: One(torch.nn.Linear(i, o, bias=False), True),
    independent_examples=True,
    **NAMES,
)
