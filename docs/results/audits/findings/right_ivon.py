"""ivon-opt: its estimates of gradient and diagonal Hessian of ½wᵀAw beside Aμ and diag A. Right."""

import torch
from ivon import IVON

torch.manual_seed(0)
A = torch.tensor([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]], dtype=torch.float64)
w = torch.nn.Parameter(torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64))
mu = w.detach().clone()
optimizer = IVON([w], lr=0.1, ess=10.0, hess_init=1.0, weight_decay=0.5)
gradients, hessians = [], []
for _ in range(20000):
    optimizer._reset_samples()
    w.grad = None
    with optimizer.sampled_params(train=True):
        (0.5 * w @ A @ w).backward()
    gradients.append(optimizer.state["avg_grad"])
    hessians.append(optimizer.state["avg_nxg"] * 10.0 * (1.0 + 0.5))  # noise × gradient / variance
for name, rows, exact in (("gradient", gradients, A @ mu), ("Hessian", hessians, A.diag())):
    rows = torch.stack(rows)
    mean, error = rows.mean(0), rows.std(0) / len(rows) ** 0.5
    print(
        f"{name}: "
        + ", ".join(
            f"{m:.3f} ± {e:.3f} ({t:.3f})" for m, e, t in zip(mean, error, exact, strict=True)
        )
    )
