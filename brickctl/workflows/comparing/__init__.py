"""Comparing: what two models, bricks or locks have in common, and what not."""
