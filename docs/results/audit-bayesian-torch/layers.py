"""Layers of bayesian-torch, registered as estimators: `vdbench check docs/results/audit-bayesian-torch/layers.py`."""

from bayesian_torch.layers import (
    Conv2dFlipout,
    Conv2dReparameterization,
    LinearFlipout,
    LinearReparameterization,
)

import vdbench

PRIOR = 0.25
"""The variance that the layers are told; at 1 a variance taken for a standard deviation would go unseen."""

KINDS = {
    "bayesian-torch-flipout": (LinearFlipout, Conv2dFlipout),
    "bayesian-torch-reparameterization": (LinearReparameterization, Conv2dReparameterization),
}


def register(name, dense, convolution):
    return vdbench.register_layer(
        name,
        dense=lambda i, o: dense(i, o, prior_variance=PRIOR, bias=False),
        convolution=lambda i, o, k, **more: convolution(
            i, o, k, prior_variance=PRIOR, bias=False, **more
        ),
        mean=("mu_weight", "mu_kernel"),
        scale=(("rho_weight", "rho_kernel"), "softplus"),
        output=0,
        kl=1,
        prior_variance=PRIOR,
        unbiased=True,
        independent_examples=False,
        about=f"{dense.__name__} and {convolution.__name__} of bayesian-torch.",
    )


for name, layers in KINDS.items():
    register(name, *layers)
