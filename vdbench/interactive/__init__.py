"""For notebooks and training loops: measuring in one call, showing how far it is, and watching a training."""
