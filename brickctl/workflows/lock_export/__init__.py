"""What brick.lock pins, in the words of other programs."""
