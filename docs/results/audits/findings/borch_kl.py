"""borch: analytical_kl_divergence_loss is KL(p ‖ q); its documentation says KL(q ‖ p)."""

import torch
from borch import distributions as dist
from borch.infer.vi import analytical_kl_divergence_loss, vi_analytical_kl_loss
from torch.distributions import Normal, kl_divergence

p, q = Normal(0.0, 0.5), Normal(1.0, 0.2)
T = torch.tensor
prior, posterior = dist.Normal(T(0.0), T(0.5)), dist.Normal(T(1.0), T(0.2))
print(f"borch {float(analytical_kl_divergence_loss(prior, posterior)):.4f}")
print(
    f"    vi_analytical_kl_loss {float(vi_analytical_kl_loss([prior], [posterior], [T(1.0)], [False])):.4f}"
)
print(f"KL(q ‖ p) {float(kl_divergence(q, p)):.4f}, KL(p ‖ q) {float(kl_divergence(p, q)):.4f}")
w = q.sample((1000000,))
draws = q.log_prob(w) - p.log_prob(w)
print(
    f"mean of log q − log p over draws of q {float(draws.mean()):.4f} ± {float(draws.std() / 1000):.4f}"
)
