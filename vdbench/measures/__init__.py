"""What is measured of an estimator. No measure knows an estimator by name."""
