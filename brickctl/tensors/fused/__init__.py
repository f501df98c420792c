"""Formulas that run over a block at once, in compiled code: what they are, and what runs them."""
