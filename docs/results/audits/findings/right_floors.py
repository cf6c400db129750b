"""Right layers, once accused: σ cannot be below a floor. Output at the smallest σ, x = 1, one weight μ = 1."""

import math

import stand_in  # noqa: F401
import torch
from bayesnn import BayesianLinear
from bnn.layers import BLinear
from cplxmodule.nn.relevance import LinearVD
from inferno.loss_fns.variational_free_energy import _kl_normal_normal
from supernnova.training.bayesian_rnn import BayesLinear, Prior
from torch.distributions import Normal, kl_divergence
from zuko.bayesian import BayesianModel

torch.manual_seed(0)
x, low = torch.ones(4000, 1, dtype=torch.float64), -100.0


def draw_zuko():
    model = BayesianModel(torch.nn.Linear(1, 1, bias=False)).double()
    model.means["weight"].data.fill_(1.0)
    model.logvars["weight"].data.fill_(-1e9)

    def one():
        with model.reparameterize() as net:
            return net(x[:1])

    return one


def simple(layer, mu, rho):
    mu.data.fill_(1.0)
    rho.data.fill_(low)
    layer.double()
    return lambda: layer(x[:1])


for name, one, floor in (
    ("bayesnn", simple(m := BayesianLinear(1, 1, bias=False), m.mean_weights, m.rho_weights), 1e-6),
    (
        "bnn-pytorch",
        simple(m := BLinear(1, 1, bias=False), m.weight_posterior.mean, m.weight_posterior.rho),
        1e-6,
    ),
    ("supernnova", simple(m := BayesLinear(1, 1, Prior(), -0.1, 0.1, -4, -3), m.mu, m.rho), 1e-5),
    ("cplxmodule", simple(m := LinearVD(1, 1, bias=False), m.weight, m.log_sigma2), 1e-4),
    ("zuko", draw_zuko(), math.exp(-9)),
):
    with torch.no_grad():
        b = torch.cat([one() for _ in range(4000)]) - 1
    print(f"{name}: mean − 1 {float(b.mean()):.1e} ± {float(b.std()) / 4000**0.5:.1e}, "
          f"standard deviation {float(b.std()):.3g}, floor {floor:.3g}")  # fmt: skip

mean, scale = torch.randn(12).double(), 0.2 + torch.rand(12).double()
exact = kl_divergence(Normal(mean, scale), Normal(0.0, torch.tensor(0.5).double())).sum()
found = _kl_normal_normal(mean, scale, 0 * mean, 0 * mean + 0.5).sum()
print(
    f"inferno-torch: KL / exact − 1 = {float(found / exact) - 1:.1e}, with 1e-6 added to both variances"
)
