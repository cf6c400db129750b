"""Families of noise beyond independent normal weights with a σ each: one file a family."""
