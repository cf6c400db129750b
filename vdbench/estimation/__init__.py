"""What an estimator is, how it is registered, and what families of estimators share."""
