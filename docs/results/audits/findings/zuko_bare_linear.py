"""zuko: local_trick=True does nothing where the base model is an nn.Linear itself. Equal rows show it."""

import torch
from zuko.bayesian import BayesianModel

torch.manual_seed(0)
x = torch.ones(2, 3)
for name, base in {
    "nn.Linear": torch.nn.Linear(3, 1),
    "nn.Sequential(nn.Linear)": torch.nn.Sequential(torch.nn.Linear(3, 1)),
}.items():
    with BayesianModel(base, init_logvar=0.0).reparameterize(local_trick=True) as net:
        a, b = net(x).flatten().tolist()
    print(f"{name}: equal rows give {a:.3f} and {b:.3f}")
