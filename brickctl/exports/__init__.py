"""What a target was built into, in the forms that other programs run: one format a file, found by import."""
