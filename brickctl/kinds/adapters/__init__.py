"""Types of PEFT adapters: one file a type with a formula of its own. `adapter_type.py` says what a type has to know."""
