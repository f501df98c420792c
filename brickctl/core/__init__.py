"""Pure values: names, digests, numbers, the manifest, the lock, bricks and plans. No I/O, no torch."""
