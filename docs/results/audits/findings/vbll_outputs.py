"""vbll: the training loss of Regression beside E_q[log p(y | x, W)] by Monte Carlo, without KL and Wishart terms."""

import torch
from vbll import Regression

torch.manual_seed(0)
for outputs in (1, 2, 4):
    layer = Regression(3, outputs, regularization_weight=0.0, parameterization="diagonal").double()
    layer.noise_logdiag.data.zero_()
    x, y = torch.randn(6, 3).double(), torch.randn(6, outputs).double()
    with torch.no_grad():
        q = torch.distributions.Normal(layer.W_mean, layer.W_logdiag.exp())
        w = q.sample((400000,))
        log_p = (
            torch.distributions.Normal(w.new_zeros(()), 1.0).log_prob(y - x @ w.mT).sum(-1).mean(-1)
        )
        loss = float(layer(x).train_loss_fn(y))
    error = float(log_p.std() / len(log_p) ** 0.5)
    print(f"{outputs} outputs: vbll {loss:.4f}, −E log p {-float(log_p.mean()):.4f} ± {error:.4f}")
