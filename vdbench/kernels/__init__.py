"""Kernels that can be used on their own: tensors in, tensors out, each with a plain reference in torch."""
