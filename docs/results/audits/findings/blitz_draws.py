"""blitz: sample_elbo with sample_nbr > 1. E[grad σ of |xw − y|²] = 2σ Σx² in closed form."""

import torch
from blitz.modules import BayesianLinear
from blitz.utils import variational_estimator

torch.manual_seed(0)
Net = variational_estimator(type("Net", (torch.nn.Sequential,), {}))
net = Net(BayesianLinear(3, 1, bias=False))
x, y = torch.randn(5, 3), torch.randn(5, 1)
half = torch.nn.MSELoss(reduction="sum")  # Σ(xw − y)²
q = net[0].weight_sampler
q.rho.data.fill_(0.5413)  # σ = 1
exact = 2 * torch.nn.functional.softplus(q.rho) * x.square().sum(0) * q.rho.sigmoid()
for draws in (1, 2, 10):
    rows = []
    for _ in range(4000):
        loss = net.sample_elbo(x, y, half, draws, complexity_cost_weight=0)
        rows.append(torch.autograd.grad(loss, q.rho)[0] / exact)
    rows = torch.stack(rows).mean((1, 2)).detach()
    error = float(rows.std() / len(rows) ** 0.5)
    print(f"sample_nbr={draws}: mean gradient / exact {float(rows.mean()):.3f} ± {error:.3f}")
