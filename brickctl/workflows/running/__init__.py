"""Running what was built, for a quick look."""
