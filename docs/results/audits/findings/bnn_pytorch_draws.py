"""bnn-pytorch: BayesNetTrainer.fit(samples=S) adds S times the KL to the mean loss of S draws."""

import torch
from bnn.distributions.priors import DiagonalNormal
from bnn.layers import BConv2d, BLinear
from bnn.utils.bayesnet import BayesNetTrainer, BayesNetWrapper

torch.manual_seed(0)
layer = BLinear(3, 2, DiagonalNormal(0, 0.5), bias=False)
net = BayesNetWrapper(layer)
trainer = BayesNetTrainer(net, learning_rate=0.0)
q = torch.distributions.Normal(layer.weight_posterior.mean, layer.weight_posterior.get_std())
kl = float(torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 0.5)).sum())
x, y = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
seen = []
trainer.crit.register_forward_pre_hook(
    lambda m, a, k: seen.append(float(k["kld"])), with_kwargs=True
)
for samples in (1, 2, 10):
    trainer.fit(x, y, 0, 1, samples=samples)
    print(f"samples={samples}: KL in the loss {seen[-1]:.3f}; KL of the layer {kl:.3f}")
try:
    BConv2d(4, 4, 3, groups=2)(torch.randn(1, 4, 5, 5))
except RuntimeError as error:
    print("BConv2d(groups=2):", str(error)[:100])
