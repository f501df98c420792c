"""Use cases, one a module: each takes a session and options, and returns a frozen result. Nothing here prints."""
