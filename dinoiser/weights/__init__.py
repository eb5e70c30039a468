"""Files of weights: where they come from, having them on this machine, checking, reading them."""
