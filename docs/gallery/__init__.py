"""Ten models as their authors write them, each a problem for vdbench."""
