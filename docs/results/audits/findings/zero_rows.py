"""Local reparameterization with √ of a variance that is 0: an all-zero row (a dead ReLU) and no noise in the bias."""

import pyro
import torch
import tyxe
from pyro.contrib.bnn import HiddenLayer
from torch_blue.vi import VILinear
from zuko.bayesian import BayesianModel

torch.manual_seed(0)
x = torch.tensor([[1.0, 2.0], [0.0, 0.0]])


def report(name, out, *parameters):
    grads = torch.autograd.grad(out.square().sum(), parameters)
    print(f"{name}: finite gradients", [bool(g.isfinite().all()) for g in grads])


mu, scale = torch.randn(2, 3, requires_grad=True), torch.rand(2, 3, requires_grad=True)
report(
    "pyro HiddenLayer", HiddenLayer(x, mu, scale, include_hidden_bias=False).rsample(), mu, scale
)
model = BayesianModel(torch.nn.Sequential(torch.nn.Linear(2, 3, bias=False)))
with model.reparameterize(local_trick=True) as net:
    report("zuko local_trick", net(x), model.means["0-weight"], model.logvars["0-weight"])
layer = VILinear(2, 3, bias=False, return_log_probs=False)
report(
    "torch-blue, return_log_probs=False",
    layer(x, samples=1),
    layer._weight_mean,
    layer._weight_log_std,
)
q = pyro.distributions.Normal(mu.mT, scale.mT).to_event(2)
for check in (True, False):  # torch checks arguments by default; zuko switches that off
    torch.distributions.Distribution.set_default_validate_args(check)
    try:
        with tyxe.poutine.local_reparameterization():
            b = torch.nn.functional.linear(x, pyro.sample("w", q), None)
        report(f"tyxe, arguments checked {check}", b, mu, scale)
    except ValueError as error:
        print(f"tyxe, arguments checked {check}: ValueError:", str(error).split(" (")[0], "…")
