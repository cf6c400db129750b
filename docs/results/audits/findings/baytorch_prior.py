"""baytorch: a layer without bias ignores the prior of its weights; its cost is the negative entropy of q."""

import torch
from baytorch.bnn import DiagonalGaussianLinear
from torch.distributions import Normal, kl_divergence

torch.manual_seed(0)
prior = {"prior_weight_mean": torch.zeros(2, 3), "prior_weight_std": torch.full((2, 3), 0.5)}
more = {"prior_bias_mean": torch.zeros(2), "prior_bias_std": torch.full((2,), 0.5)}
for what, layer in {
    "no bias": DiagonalGaussianLinear(3, 2, bias=False, **prior),
    "no bias, a prior of the bias": DiagonalGaussianLinear(3, 2, bias=False, **prior, **more),
}.items():
    q = Normal(layer.weight_mean, layer.weight_std)
    exact, entropy = kl_divergence(q, Normal(0.0, 0.5)).sum(), q.entropy().sum()
    print(
        f"{what}: cost {float(layer.complexity_cost()):.4f}; KL {float(exact):.4f}, −entropy {-float(entropy):.4f}"
    )
