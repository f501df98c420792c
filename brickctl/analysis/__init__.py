"""Forward passes: what a model answers, how well it predicts text, and what its FFNs do. Never part of a build."""
