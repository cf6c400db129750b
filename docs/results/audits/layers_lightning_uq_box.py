"""lightning-uq-box: LinearVariational and Conv2dVariational, both layer types."""

import stand_in  # noqa: F401
from common import SCALE, layer
from lightning_uq_box.models.bnn_layers import Conv2dVariational, LinearVariational

for kind in ("reparameterization", "flipout"):
    given = {"prior_sigma": SCALE, "bias": False, "layer_type": kind}
    layer(
        f"lightning-uq-box-{kind}",
        dense=lambda i, o, given=given: LinearVariational(i, o, **given),
        convolution=lambda i, o, k, given=given, **more: Conv2dVariational(
            i, o, k, **given, **more
        ),
        mean="mu_weight",
        scale=("rho_weight", "softplus"),
        kl="kl_loss",
    )
