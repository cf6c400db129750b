"""borch: borch.nn.Linear and Conv2d with a normal prior, and the KL of analytical_kl_divergence_loss."""

import borch
import torch
from borch import distributions as dist
from borch.infer.vi import analytical_kl_divergence_loss
from common import SCALE, layer

PRIOR = {"weight": dist.Normal(torch.tensor(0.0), torch.tensor(SCALE))}


class One(torch.nn.Module):
    """One draw of a layer."""

    def __init__(self, made):
        super().__init__()
        self.made = made
        inputs = (made.in_features,) if made.weight.dim() == 2 else (made.in_channels, 8, 8)
        made(torch.zeros(1, *inputs))  # makes the posterior

    def forward(self, x):
        borch.sample(self.made)
        return self.made(x)

    def kl(self):
        return analytical_kl_divergence_loss(self.made.prior.weight, self.made.posterior.weight)


def borchified(kind):
    return lambda *sizes, **more: One(
        borch.nn.borchify_module(
            kind(*sizes, bias=False, **more),
            rv_factory=lambda name, p: dist.Normal(torch.zeros_like(p), torch.full_like(p, SCALE)),
        )
    )


layer(
    "borch",
    dense=borchified(torch.nn.Linear),
    convolution=borchified(torch.nn.Conv2d),
    mean="made.posterior.weight.loc",
    scale=("made.posterior.weight.scale.param", "exp"),
    kl="kl",
)
