"""Kinds of `[[checks]]`: how it is measured what a model can do; each is one file."""
