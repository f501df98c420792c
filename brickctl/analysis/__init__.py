"""Forward passes: what a model answers, and how well it predicts text. Never part of a build."""
