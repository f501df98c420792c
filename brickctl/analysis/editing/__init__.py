"""Facts that a model states: where it looks them up, and which change of a weight rewrites them."""
