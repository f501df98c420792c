"""Where bricks come from: folders, the Hugging Face Hub, registries.

Everything that arrives here is hostile until it has been checked.
"""
