"""torch-uncertainty: σ of new layers, and the default prior (prior_pi=1: a normal with σ = 0.1) far from 0."""

import stand_in  # noqa: F401
import torch
from torch_uncertainty.layers.bayesian import BayesConv2d, BayesConv3d, BayesLinear
from torch_uncertainty.layers.bayesian.sampler import CenteredGaussianMixture

torch.manual_seed(0)
for layer in (BayesLinear(3, 3), BayesConv2d(3, 3, 3), BayesConv3d(3, 3, 3)):
    sigma = torch.nn.functional.softplus(layer.weight_sigma).mean()
    print(f"{type(layer).__name__}: mean σ of a new layer {float(sigma):.4g}")
prior = CenteredGaussianMixture(0.1, 0.4, 1)  # the defaults of BayesLinear
for value in (0.2, 0.5, 0.6, 1.0):
    w = torch.tensor(value, requires_grad=True)
    found = torch.autograd.grad(prior.log_prob(w), w)[0]
    print(f"w = {value}: gradient of log p {float(found):8.2f}, exact −w/σ² {-value / 0.01:8.2f}")
