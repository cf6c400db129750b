"""supernnova: BayesLinear and BayesBiasLinear.

Both components of the prior, a mixture of whole tensors, are the same normal.
"""

import math

from common import SCALE, floor, layer
from supernnova.training.bayesian_rnn import BayesBiasLinear, BayesLinear, Prior

SAME = Prior(0.5, math.log(SCALE), math.log(SCALE))
RANGES = (-0.1, 0.1, -4.0, -3.0)

layer(
    "supernnova",
    dense=lambda i, o: BayesLinear(i, o, SAME, *RANGES),
    mean="mu",
    scale=("rho", *floor(1e-5)),
    bias="bias",
    kl=lambda m, returned: m.kl,
)
layer(
    "supernnova-bias",
    dense=lambda i, o: BayesBiasLinear(i, o, SAME, *RANGES),
    mean="W_mu",
    scale=("W_rho", *floor(1e-5)),
    bias="b_mu",
    bias_scale=("b_rho", *floor(1e-5)),
    kl=lambda m, returned: m.kl,
)
