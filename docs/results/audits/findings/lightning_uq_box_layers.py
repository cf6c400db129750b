"""lightning-uq-box: mean KL; noise overwritten in place; a sign for each location in convolutional flipout."""

import math

import stand_in  # noqa: F401
import torch
from lightning_uq_box.models.bnn_layers import Conv2dVariational, LinearVariational
from torch.distributions import Normal, kl_divergence

torch.manual_seed(0)
layer = LinearVariational(3, 4, prior_sigma=0.25, bias=False)
q = Normal(layer.mu_weight, layer.rho_weight.exp().log1p())
for what, scale in {"standard deviation": 0.25, "variance": 0.5}.items():
    kl = float(kl_divergence(q, Normal(0.0, scale)).sum())
    print(
        f"KL {float(layer.kl_loss()):.4f}; exact, prior_sigma as {what} {kl:.4f}, /12 {kl / 12:.4f}"
    )

x = torch.randn(5, 3)


def grad(*seeds):
    def loss(seed):
        torch.manual_seed(seed)
        return layer(x).square().sum()

    return torch.autograd.grad(sum(map(loss, seeds)), layer.rho_weight)[0]


gap = (grad(1) + grad(2) - grad(1, 2)).abs().max() / (grad(1) + grad(2)).abs().max()
print(f"two draws in one backward pass: largest error in ρ {float(gap):.2f} of the largest entry")

for kind in ("reparameterization", "flipout"):
    conv = Conv2dVariational(1, 1, (2, 2), bias=False, layer_type=kind)
    conv.mu_weight.data.zero_()
    conv.rho_weight.data.fill_(math.log(math.expm1(0.5)))  # σ = 0.5: the variance is 4 × 0.25
    with torch.no_grad():
        b = torch.cat([conv(torch.ones(100, 1, 2, 5)) for _ in range(400)]).flatten(1)
    print(f"{kind}: variance {float(b[:, 0].var()):.3f}, covariance of places 0 and 3 "
          f"{float((b[:, 0] * b[:, 3]).mean()):.3f}")  # fmt: skip
