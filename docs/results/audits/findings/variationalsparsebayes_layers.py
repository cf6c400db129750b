"""variationalsparsebayes: SparseBNN's hidden layers are one layer, whose KL is counted once for each; and its tau."""

import torch
from variationalsparsebayes import SVIHalfCauchyPrior
from variationalsparsebayes.sparse_bnn import SparseBNN

torch.manual_seed(0)
net = SparseBNN(3, 1, n_hidden=8, n_layers=5)
layers = list(net.layers)
print(f"{len(layers)} layers, {len(set(map(id, layers)))} different ones")
once = sum(float(layer.kl_divergence) for layer in set(layers))
print(f"KL in the ELBO {float(net.kl_divergence):.1f}; KL of the different layers {once:.1f}")

# KL(q(s_a) ‖ Gamma(½, rate 1/tau)) by Monte Carlo: the scale of the half-Cauchy is √tau
prior = SVIHalfCauchyPrior(4, 0.01)
q = torch.distributions.LogNormal(prior.s_a.mu, prior.s_a.log_sigma.exp())
for what, rate in {"1/tau": 1 / 0.01, "1/tau²": 1 / 0.01**2}.items():
    s = q.sample((200000,))
    draws = q.log_prob(s) - torch.distributions.Gamma(0.5, rate).log_prob(s)
    print(f"rate {what}: {float(draws.mean()):.3f} ± {float(draws.std() / 200000**0.5):.3f}, "
          f"the layer's term {float(prior._kl_s_a()):.3f}")  # fmt: skip
