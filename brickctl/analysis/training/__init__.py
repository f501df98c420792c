"""Training: a small adapter that learns from examples, one step at a time."""
