"""Ways to choose among adapters while a model runs; each is one file."""
