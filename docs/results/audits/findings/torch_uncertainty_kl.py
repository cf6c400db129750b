"""torch-uncertainty: the mean of KLDiv of three layers beside their KL in closed form."""

import stand_in  # noqa: F401
import torch
from torch_uncertainty.layers.bayesian import BayesLinear
from torch_uncertainty.losses.bayesian import KLDiv

torch.manual_seed(0)
given = {"prior_sigma_1": 0.5, "prior_sigma_2": 0.5, "prior_pi": 0.5, "bias": False}
net = torch.nn.Sequential(*(BayesLinear(3, 3, **given) for _ in range(3)))
exact, values = 0.0, []
for layer in net:
    layer.weight_sigma.data.fill_(-1.0)
    q = torch.distributions.Normal(layer.weight_mu, layer.weight_sigma.exp().log1p())
    p = torch.distributions.Normal(0.0, 0.5)
    exact += float(torch.distributions.kl_divergence(q, p).sum().detach())
with torch.no_grad():
    for _ in range(20000):
        net(torch.ones(1, 3))
        values.append(float(KLDiv(net)()))
values = torch.tensor(values)
error = float(values.std() / len(values) ** 0.5)
print(f"KLDiv: mean {float(values.mean()):.3f} ± {error:.3f}; KL of the three layers {exact:.3f}")
print(f"    (KL − 0.5 × 27 weights) / 3 layers = {(exact - 13.5) / 3:.3f}")
