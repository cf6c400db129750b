"""bayesnn: BayesianLinear, and the KL that its losses use."""

import math

from bayesnn import BayesianLinear
from bayesnn.loss import _Loss
from common import SCALE, layer

layer(
    "bayesnn",
    dense=lambda i, o: BayesianLinear(i, o, rho=math.log(math.expm1(SCALE)), bias=False),
    mean="mean_weights",
    scale=("rho_weights", "softplus"),
    kl=lambda m, returned: _Loss(m).kl_divergence(),
)
