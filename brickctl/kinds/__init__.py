"""Kinds of bricks: one file a kind, found by import. `kind.py` says what a kind has to know."""
