"""`python -m brickctl` is `brickctl`."""

from __future__ import annotations

import sys

from brickctl.cli import main

if __name__ == "__main__":
    sys.exit(main())
