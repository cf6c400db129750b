"""Problems drawn from the seed of a check, and the exact gradients on them.

`recipes` draws what a problem is made of, `build` makes it, `moments` and `softmax` have its exact expectations,
`sampled` a reference where there is none, and `features` says what a certificate exercised.
"""
