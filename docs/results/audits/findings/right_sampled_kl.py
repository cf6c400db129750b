"""Right layers that vdbench once accused: KLs of one draw, log q(w) − log p(w). Means over 20,000 draws."""

import math

import stand_in  # noqa: F401
import torch
from Bayes.modules import BayesianLinear as BayesRegression
from blitz.modules import BayesianLinear as Blitz
from supernnova.training.bayesian_rnn import BayesLinear as SuperNNova
from supernnova.training.bayesian_rnn import Prior
from torch.distributions import Normal, kl_divergence
from torch_uncertainty.layers.bayesian import BayesLinear as Uncertainty

torch.manual_seed(0)
half, ranges = math.log(0.5), (-0.5, 0.5, -1.0, 0.0)


def own(layer):
    return layer.log_variational_posterior - layer.log_prior


def names(layer, mean, scale, kl, add=0.0):
    return layer, mean, scale, kl, add


for name, (layer, mu, rho, kl, add) in {
    "torch-uncertainty": names(m := Uncertainty(3, 2, 0.5, 0.5, 0.5, bias=False), m.weight_mu, m.weight_sigma, own),
    "blitz": names(m := Blitz(3, 2, False, 0.5, 0.5, 1), m.weight_sampler.mu, m.weight_sampler.rho, own),
    "bayes-regression": names(
        m := BayesRegression(3, 2, False, 0.5, 0.5), m.weight_mu, m.weight_rho, lambda m: m.kl_divergence()
    ),
    "supernnova": names(
        m := SuperNNova(3, 2, Prior(0.5, half, half), *ranges), m.mu, m.rho, lambda m: m.kl, 1e-5
    ),
}.items():  # fmt: skip
    rho.data.fill_(-1.0)
    mu.data.normal_(0, 0.5)
    q = Normal(mu, torch.nn.functional.softplus(rho) + add)
    exact = kl_divergence(q, Normal(0.0, 0.5)).sum()
    true = torch.autograd.grad(exact, (mu, rho))
    rows = []
    for _ in range(20000):
        layer(torch.ones(1, 3))
        found = kl(layer)
        g = torch.autograd.grad(found, (mu, rho))
        along = [float((a * t).sum() / t.square().sum()) for a, t in zip(g, true, strict=True)]
        rows.append([float(found) - float(exact), *along])
    rows = torch.tensor(rows)
    mean, error = rows.mean(0).tolist(), (rows.std(0) / len(rows) ** 0.5).tolist()
    print(f"{name}: value − KL {mean[0]:.3f} ± {error[0]:.3f} (−0.5 a weight is −3); gradient / exact: "
          f"mean {mean[1]:.3f} ± {error[1]:.3f}, scale {mean[2]:.3f} ± {error[2]:.3f}")  # fmt: skip
