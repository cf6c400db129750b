"""Kernels that can be used on their own: tensors in, tensors out, each with a plain reference in torch.

- `philox`: random words, normal numbers and signs that are functions of a counter, on any device;
- `fused`: local reparameterization and flipout of a dense layer, by Triton; `references` has the same in plain torch;
- `launches`: what starts the device programs, among them the normal numbers of many streams in one launch.

`docs/kernels.md` says how to use them, and what was checked.
"""
