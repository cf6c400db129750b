"""tyxe: its messengers for local reparameterization and flipout around F.linear and F.conv2d."""

import pyro
import torch.nn.functional as F
from common import Drawn, layer
from pyro.distributions import Normal
from tyxe.poutine import flipout, local_reparameterization


def dense(handler):
    def forward(x, mu, rho):
        with handler():
            q = Normal(mu, rho.exp()).to_event(2)  # the messenger holds it by a weak reference only
            w = pyro.sample("w", q)
            return F.linear(x, w, None)

    return lambda i, o: Drawn((o, i), forward)


def convolution(handler):
    def made(i, o, k, stride=1, padding=0, dilation=1, groups=1):
        def forward(x, mu, rho):
            with handler():
                q = Normal(mu, rho.exp()).to_event(4)
                w = pyro.sample("w", q)
                return F.conv2d(x, w, None, stride, padding, dilation, groups)

        return Drawn((o, i // groups, *k), forward)

    return made


layer(
    "tyxe-local",
    dense=dense(local_reparameterization),
    convolution=convolution(local_reparameterization),
    scale=("rho", "exp"),
    independent_examples=True,
    objective_on_convolution="elbo-local-noise",
)
layer(
    "tyxe-flipout",
    dense=dense(flipout),
    convolution=convolution(flipout),
    scale=("rho", "exp"),
)
