"""fastbnns: the MonteCarlo propagator samples its input with .sample(), so no gradient reaches earlier layers."""

import torch
from fastbnns.bnn.inference import MonteCarlo
from fastbnns.bnn.types import MuVar
from fastbnns.bnn.wrappers import BayesianModule

torch.manual_seed(0)
for name, second in {"default": {}, "MonteCarlo": {"moment_propagator": MonteCarlo(10)}}.items():
    first = BayesianModule(torch.nn.Linear(3, 3))
    net = torch.nn.Sequential(first, BayesianModule(torch.nn.Linear(3, 1), **second))
    out = net(MuVar(torch.randn(4, 3)))
    (out.mu.square().sum() + out.var.sum()).backward()
    grads = [p.grad for p in first._module_params.values()]
    found = ["None" if g is None else f"{float(g.abs().max()):.3g}" for g in grads]
    print(f"second layer {name}: largest gradients of the first {found}")
