"""brickctl: the package manager for configurable foundation models."""

__version__ = "0.1.0"
