"""Every finding of the audit again, with bayesian-torch and torch alone: `python by_hand.py`."""

import math

import torch
from bayesian_torch.layers import Conv2dFlipout, LinearFlipout, LinearReparameterization

torch.manual_seed(0)
torch.set_num_threads(1)


def kl() -> None:
    """KL(q ‖ N(0, 0.25)) of 12 weights, in closed form, beside what the layer returns."""
    layer = LinearFlipout(3, 4, prior_variance=0.25, bias=False)
    mean, sigma = layer.mu_weight, layer.rho_weight.exp().log1p()

    def closed(variance: float) -> torch.Tensor:
        ratio = sigma**2 / variance
        return 0.5 * (ratio + mean**2 / variance - 1 - ratio.log()).sum()

    own = float(layer.kl_loss().detach())
    print(
        f"KL: layer {own:.6f}, closed form {float(closed(0.25).detach()):.6f}; with the variance as standard deviation"
    )
    wide = float(closed(0.0625).detach())
    print(f"    {wide:.6f}, and that over the 12 weights {wide / 12:.6f}")


def draws(kind: type) -> None:
    """The gradient in rho of two forward passes in one backward pass, beside the sum of their own."""
    layer = kind(3, 4, bias=False).double()
    x = torch.randn(5, 3, dtype=torch.float64)

    def loss(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return layer(x, return_kl=False).square().sum()

    def gradient(*seeds: int) -> torch.Tensor:
        return torch.autograd.grad(sum(loss(s) for s in seeds), layer.rho_weight)[0]

    apart, together = gradient(1) + gradient(2), gradient(1, 2)
    gap = float((apart - together).abs().max() / apart.abs().max())
    print(f"draws: {kind.__name__}: largest difference {gap:.3f} of the largest entry")


def places() -> None:
    """Covariance of two output places of a convolution with constant input: common weights give Σσ² = its variance."""
    layer = Conv2dFlipout(1, 1, 2, bias=False).double()
    with torch.no_grad():
        layer.mu_kernel.zero_()
        layer.rho_kernel.fill_(math.log(math.expm1(0.5)))
        x = torch.ones(100, 1, 2, 5, dtype=torch.float64)
        b = torch.cat([layer(x, return_kl=False) for _ in range(400)])
    b = b.flatten(1)
    print(f"places: variance {float(b[:, 0].var()):.4f} (4·0.5² = 1), ", end="")
    found = float((b[:, 0] * b[:, 3]).mean())
    print(
        f"covariance of places 0 and 3 {found:.4f}; with weights common to all places it is 1 too"
    )


def overflow() -> None:
    """The standard deviation log1p(exp(rho)) at rho = 100, in float32."""
    layer = LinearReparameterization(3, 4, bias=False)
    with torch.no_grad():
        layer.rho_weight.fill_(100.0)
        b = layer(torch.ones(1, 3), return_kl=False)
    print(f"overflow: rho = 100 in float32 gives {b.flatten()[:2].tolist()}")


if __name__ == "__main__":
    kl()
    for kind in (LinearFlipout, LinearReparameterization):
        draws(kind)
    places()
    overflow()
