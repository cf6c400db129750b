"""cplxmodule: LinearVD and Conv2dVD (a log-uniform prior, so its KL is checked by hand)."""

from common import layer
from cplxmodule.nn.relevance import Conv2dVD, LinearVD

layer(
    "cplxmodule-vd",
    dense=lambda i, o: LinearVD(i, o, bias=False),
    convolution=lambda i, o, k, **more: Conv2dVD(i, o, k, bias=False, **more),
    mean="weight",
    scale=("log_sigma2", "exp-half"),
    independent_examples=True,
    objective_on_convolution="elbo-local-noise",
)
