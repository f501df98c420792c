"""Operations on lazy models: one file an operation, found by import. `operation.py` says how one is declared."""
