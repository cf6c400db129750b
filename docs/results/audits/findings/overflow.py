"""log1p(exp(ρ)) beyond ρ ≈ 88.7 in float32."""

import stand_in  # noqa: F401
import torch
from Bayes.modules import BayesianLinear as BayesRegression
from baytorch.bnn import DiagonalGaussianLinear
from blitz.modules import BayesianLinear as Blitz
from deepuq.methods.vi import BayesianLinear as DeepUQ
from torch_uncertainty.layers.bayesian import BayesLinear as Uncertainty

for kind, name in (
    (Blitz, "weight_rho"),
    (BayesRegression, "weight_rho"),
    (DiagonalGaussianLinear, "weight_rho"),
    (Uncertainty, "weight_sigma"),
    (DeepUQ, "weight_posterior.rho"),
):
    layer = kind(2, 1)
    layer.get_parameter(name).data.fill_(89.0)
    library = kind.__module__.split(".")[0]
    print(f"{library} {kind.__name__}: ρ = 89 gives {float(layer(torch.ones(1, 2)))}")
