"""bayestorch: VariationalPosteriorModule around nn.Linear and nn.Conv2d.

Its parameters are one flat vector, so its posterior is made anew from parameters of the weight's shape.
"""

import torch
from bayestorch.distributions import LogScaleNormal, SoftplusInvScaleNormal
from bayestorch.nn import VariationalPosteriorModule
from common import SCALE, Drawn, layer
from torch.distributions import Independent


def wrapped(kind):
    def made(*sizes, **more):
        base = kind(*sizes, bias=False, **more)
        shape, n = base.weight.shape, base.weight.numel()
        prior = {"loc": torch.zeros(n), "log_scale": torch.full((n,), SCALE).log()}
        posterior = {"loc": torch.zeros(n), "softplus_inv_scale": torch.zeros(n)}
        # its parameters hold the last draw, whose graph a conversion would touch: one module a type
        inners = {
            dtype: VariationalPosteriorModule(
                kind(*sizes, bias=False, **more).to(dtype),
                LogScaleNormal,
                prior,
                SoftplusInvScaleNormal,
                posterior,
            ).to(dtype)
            for dtype in (torch.float32, torch.float64)
        }

        def forward(x, mu, rho):
            inner = inners[x.dtype]
            inner.posterior = Independent(SoftplusInvScaleNormal(mu.flatten(), rho.flatten()), 1)
            inner.prior = Independent(LogScaleNormal(0 * mu.flatten(), prior_log.to(x)), 1)
            return inner(x, return_kl_div=True, exact_kl_div=True)

        prior_log = prior["log_scale"]
        return Drawn(shape, forward)

    return made


layer(
    "bayestorch",
    dense=wrapped(torch.nn.Linear),
    convolution=wrapped(torch.nn.Conv2d),
    scale=("rho", "softplus"),
    output=0,
    kl=1,
)
