"""How bricks are made from models: one derivation a file, found by import. Each runs once, and its bytes are locked."""
