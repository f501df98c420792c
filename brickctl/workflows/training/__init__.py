"""`brickctl train`: examples in, a brick out."""
