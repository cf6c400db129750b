"""Objectives of several draws, beside E_q ½(wx − y)² = ½(xμ − y)² + ½x²σ². Here x = 1 and μ = y = 0."""

import math

import torch
from bayestorch.distributions import LogScaleNormal, SoftplusInvScaleNormal
from bayestorch.nn import VariationalPosteriorModule
from torch_blue.vi import AnalyticalKullbackLeiblerLoss, VILinear
from torch_blue.vi.distributions import MeanFieldNormal

torch.manual_seed(0)
one, x = torch.ones(1), torch.ones(1, 1)
model = VariationalPosteriorModule(
    torch.nn.Linear(1, 1, bias=False),
    LogScaleNormal, {"loc": 0 * one, "log_scale": 0 * one},
    SoftplusInvScaleNormal,
    {"loc": (0 * one).requires_grad_(), "softplus_inv_scale": (0.5413 * one).requires_grad_()},
)  # fmt: skip
for draws in (1, 2, 10):
    with torch.no_grad():
        half = [0.5 * float(model(x, num_mc_samples=draws) ** 2) for _ in range(4000)]
    print(f"bayestorch, num_mc_samples={draws}: mean loss {sum(half) / 4000:.3f}; E_q {0.5:.3f}")

n = 4
net = VariationalPosteriorModule(
    torch.nn.Conv2d(1, 1, 2, bias=False),
    LogScaleNormal, {"loc": torch.zeros(n), "log_scale": torch.zeros(n)},
    SoftplusInvScaleNormal,
    {"loc": torch.zeros(n, requires_grad=True), "softplus_inv_scale": torch.zeros(n, requires_grad=True)},
)  # fmt: skip
try:
    (net(torch.ones(1, 1, 3, 3)).sum() + net(torch.ones(1, 1, 3, 3)).sum()).backward()
    print("bayestorch, two calls in one backward pass: no error")
except RuntimeError as error:
    print("bayestorch, two calls in one backward pass:", str(error).split(":")[0])

layer = VILinear(1, 1, bias=False)
loss = AnalyticalKullbackLeiblerLoss(layer, MeanFieldNormal(), dataset_size=1, heat=0.0)
for sigma in (0.1, 1.0, 10.0):
    layer._weight_mean.data.zero_()
    layer._weight_log_std.data.fill_(math.log(sigma))
    values = [float(loss(layer(x, samples=100), torch.zeros(1, 1))) for _ in range(400)]
    print(f"torch-blue, σ = {sigma}: data term {sum(values) / 400:.3f}; "
          f"E_q of ½w² {0.5 * sigma**2:.3f}, log σ {math.log(sigma):.3f}")  # fmt: skip
