"""A registry in a folder becomes a static site: `make` asks and writes, `place` keeps to folders that are ours."""
