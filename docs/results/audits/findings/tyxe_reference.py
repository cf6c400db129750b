"""tyxe: local_reparameterization draws the weight itself where nothing holds the distribution object (no trace)."""

import pyro
import torch
import torch.nn.functional as F
import tyxe
from pyro.distributions import Normal

torch.manual_seed(0)
x = torch.ones(2, 3)
for held in (False, True):
    with tyxe.poutine.local_reparameterization():
        q = Normal(torch.zeros(1, 3), 1.0).to_event(2) if held else None
        w = pyro.sample("w", q or Normal(torch.zeros(1, 3), 1.0).to_event(2))
        a, b = F.linear(x, w, None).flatten().tolist()
    print(f"distribution held: {held}; equal rows give {a:.3f} and {b:.3f}")
