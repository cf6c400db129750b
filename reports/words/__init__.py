"""Numbers, names and verdicts as a reader sees them."""
