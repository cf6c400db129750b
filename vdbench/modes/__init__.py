"""Execution modes: how one gradient is computed again and again, one file a mode."""
