"""Training with an estimator, and judging what was trained."""
