"""torchbnn: last_layer_only gives the KL of the last layer's bias alone."""

import torch
from torch.distributions import Normal, kl_divergence
from torchbnn.functional import bayesian_kl_loss
from torchbnn.modules import BayesLinear

torch.manual_seed(0)
net = torch.nn.Sequential(BayesLinear(0.0, 0.5, 3, 4), BayesLinear(0.0, 0.5, 4, 2))
last = net[1]
parts = {
    name: float(kl_divergence(Normal(mu, log_sigma.exp()), Normal(0.0, 0.5)).sum())
    for name, mu, log_sigma in (
        ("weights", last.weight_mu, last.weight_log_sigma),
        ("bias", last.bias_mu, last.bias_log_sigma),
    )
}
print(
    f"last_layer_only {float(bayesian_kl_loss(net, 'sum', last_layer_only=True)):.4f}; KL of", parts
)
