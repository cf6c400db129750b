"""blitz: after .double() (or .to("cuda")) a frozen layer uses weights that are not the trained ones."""

import torch
from blitz.modules import BayesianLinear

torch.manual_seed(0)
for cast in (False, True):
    layer = BayesianLinear(3, 1)
    layer = layer.double() if cast else layer
    x = torch.randn(8, 3).to(layer.weight_mu.dtype)
    y = x.sum(1, keepdim=True)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        (layer(x) - y).square().mean().backward()
        optimizer.step()
    drawn = float((layer(x) - y).square().mean())
    layer.freeze = True
    frozen = float((layer(x) - y).square().mean())
    print(f"cast {cast}: squared error of a draw {drawn:.2g}, of the frozen layer {frozen:.2g}")
    print(f"    trained {layer.weight_sampler.mu.tolist()}, used {layer.weight_mu.tolist()}")
