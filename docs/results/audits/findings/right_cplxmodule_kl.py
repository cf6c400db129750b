"""cplxmodule: the penalty of LinearVD beside the KL to the log-uniform prior, E log|1 + √α ε| − ½ log α + 0.63518."""

import torch
from cplxmodule.nn.relevance import LinearARD, LinearVD

torch.manual_seed(0)
e = torch.randn(4000000, dtype=torch.float64)
worst = 0.0
for log_alpha in (-8.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0):
    a = torch.tensor(log_alpha, dtype=torch.float64)
    draws = (1 + (0.5 * a).exp() * e).abs().log()
    exact = float(draws.mean()) - 0.5 * log_alpha + 0.63518
    error = float(draws.std()) / len(e) ** 0.5
    found = []
    for kind in (LinearVD, LinearARD):
        layer = kind(1, 1, bias=False).double()
        layer.weight.data.fill_(1.0)
        layer.log_sigma2.data.fill_(log_alpha)
        found.append(float(layer.penalty.sum().detach()))
    ard = 0.5 * float((1 + (-a).exp()).log())
    worst = max(worst, abs(found[0] - exact))
    print(
        f"log α = {log_alpha:4}: VD {found[0]:.4f}, KL {exact:.4f} ± {error:.4f}; ARD {found[1]:.4f}, KL {ard:.4f}"
    )
print(f"largest difference of VD {worst:.4f}")
