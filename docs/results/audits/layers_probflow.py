"""probflow on its torch backend: Dense, with its flipout and without."""

import probflow as pf
import torch
from common import SCALE, Drawn, layer

pf.set_backend("pytorch")


def dense(flipout):
    def made(i, o):
        prior = {"prior": pf.Normal(0.0, SCALE)}
        inner = pf.Dense(i, o, weight_kwargs=prior)
        none = {"loc": torch.zeros(1, o), "scale": torch.full((1, o), -80.0)}

        def put(mu, rho):
            inner.weights.untransformed_variables = {"loc": mu, "scale": rho}
            inner.bias.untransformed_variables = {k: v.to(mu) for k, v in none.items()}

        def forward(x, mu, rho):
            put(mu, rho)
            pf.set_datatype(mu.dtype)
            with pf.utils.settings.Sampling(n=1, flipout=flipout):
                return inner(x)

        def kl(mu, rho):
            put(mu, rho)
            return inner.weights.kl_loss()

        return Drawn((i, o), forward, kl)

    return made


NAMES = {"scale": ("rho", "softplus"), "transposed": True, "kl": "kl"}
layer("probflow-flipout", dense=dense(True), **NAMES)
layer("probflow", dense=dense(False), **NAMES)
