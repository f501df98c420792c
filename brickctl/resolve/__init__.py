"""Which version of each brick: a search over what is offered, and sentences where nothing will do; no I/O."""
