"""torch-blue: VILinear and VIConv2d, drawn in weight space, and the path of VILinear without log-probabilities."""

import torch
from common import SCALE, layer
from torch_blue.vi import VIConv2d, VILinear
from torch_blue.vi.analytical_kl_loss import NormalNormalDivergence
from torch_blue.vi.distributions import MeanFieldNormal


class One(torch.nn.Module):
    """One draw of a layer, without the axis of draws that the library puts in front."""

    def __init__(self, made, weights):
        super().__init__()
        self.made, self.weights = made, weights
        made.return_log_probs = weights

    def forward(self, x):
        return self.made(x, samples=1)[0].as_subclass(torch.Tensor)

    def kl(self):
        prior = self.made.prior["weight"]
        q = self.made.get_variational_parameters("weight")
        return NormalNormalDivergence()((prior.mean.double(), prior.log_std.double()), q)


def made(kind, weights):
    return lambda *sizes, **more: One(
        kind(*sizes, bias=False, prior=MeanFieldNormal(0.0, SCALE), **more), weights
    )


NAMES = {"mean": "made._weight_mean", "scale": ("made._weight_log_std", "exp"), "kl": "kl"}

layer("torch-blue", dense=made(VILinear, True), convolution=made(VIConv2d, True), **NAMES)
layer("torch-blue-fast", dense=made(VILinear, False), independent_examples=True, **NAMES)
