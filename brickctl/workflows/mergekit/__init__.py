"""Recipes of mergekit, read as manifests."""
