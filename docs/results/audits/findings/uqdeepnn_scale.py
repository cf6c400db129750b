"""uqdeepnn: vi_elbo_step adds KL / batches to a mean over a minibatch; in the ELBO of a mean loss it is KL / N."""

import torch
from deepuq.methods.vi import BayesByBackpropMLP, vi_elbo_step

torch.manual_seed(0)
N, M = 1000, 50
model = BayesByBackpropMLP(3, [8], 2)
x, y = torch.randn(M, 3), torch.randint(0, 2, (M,))
loss, nll, kl = vi_elbo_step(model, x, y, num_batches=N // M, criterion=torch.nn.CrossEntropyLoss())
print(f"KL in the loss {float(kl):.3f}, of a mean loss {float(nll):.3f}")
print(
    f"KL / N {float(model.kl()) / N:.4f}: the ratio is {float(kl) * N / float(model.kl()):.1f}, M = {M}"
)
