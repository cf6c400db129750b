"""PyTorch-Bayes: σ is computed once, in the constructor."""

import torch
from pytorch_bayes.nn import BayesianLinear

torch.manual_seed(0)
layer = BayesianLinear(3, 1, bias=False)
q = layer.weight_variational_posterior
x = torch.ones(1, 3)
before = torch.stack([layer(x) for _ in range(2000)]).std()
q.rho.data += 5.0
after = torch.stack([layer(x) for _ in range(2000)]).std()
print(f"standard deviation of the output: {float(before):.4f}; after ρ + 5: {float(after):.4f}")
want = torch.nn.functional.softplus(q.rho).square().sum().sqrt()
print(f"    √Σσ² at the new ρ is {float(want):.4f}")
layer(x).sum().backward()
try:
    layer(x).sum().backward()
except RuntimeError as error:
    print("second backward pass:", str(error).split(".")[0])
