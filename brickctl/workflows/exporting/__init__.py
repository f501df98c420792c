"""Exporting: what a target was built into, written for another program."""
