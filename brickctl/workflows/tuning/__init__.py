"""`brickctl tune`: which numbers make the best of a target, searched for in memory and decided by held-out data."""
