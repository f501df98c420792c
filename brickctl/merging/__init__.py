"""The mathematics of merging: one method a file, found by import. `method.py` says how one is declared."""
