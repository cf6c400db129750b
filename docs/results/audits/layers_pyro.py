"""pyro-ppl: contrib.bnn.HiddenLayer, and AutoNormal around a PyroModule[nn.Linear]."""

import pyro
import pyro.distributions as dist
import torch
from common import SCALE, Drawn, layer
from pyro.contrib.bnn import HiddenLayer
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroSample


def hidden(weights):
    def made(x, mu, rho):
        more = {"non_linearity": lambda b: b, "include_hidden_bias": False}
        return HiddenLayer(
            x, mu, rho.exp(), A_prior_scale=SCALE, weight_space_sampling=weights, **more
        )

    def kl(mu, rho):
        return made(torch.ones(1, mu.shape[0], dtype=mu.dtype), mu, rho).KL

    return lambda i, o: Drawn((i, o), lambda x, mu, rho: made(x, mu, rho).rsample(), kl)


NAMES = {"scale": ("rho", "exp"), "transposed": True, "kl": "kl"}
layer("pyro-hidden-layer", dense=hidden(False), independent_examples=True, **NAMES)
layer("pyro-hidden-layer-weights", dense=hidden(True), **NAMES)


pyro.settings.set(
    module_local_params=True
)  # else the guide reads the global store, not its parameters


class Guided(torch.nn.Module):
    """A linear layer with the weight that its guide draws."""

    def __init__(self, i, o):
        super().__init__()
        model = PyroModule[torch.nn.Linear](i, o, bias=False)
        model.weight = PyroSample(dist.Normal(0.0, SCALE).expand([o, i]).to_event(2))
        self.guide = AutoNormal(model)
        self.guide(torch.zeros(1, i))

    def forward(self, x):
        return torch.nn.functional.linear(x, self.guide()["weight"])


layer(
    "pyro-autonormal",
    dense=Guided,
    mean="guide.locs.weight_unconstrained",
    scale=("guide.scales.weight_unconstrained", "softplus"),
)
