"""Vocabularies: which token has which row, in which tensors, and how one vocabulary is made of several."""
