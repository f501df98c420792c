"""Vendored bricks served under the protocol of the Hugging Face Hub, to whatever program knows it.

`repositories` says what there is, `replies` what is said of it, `routes` which request is about what, and `server`
speaks HTTP. Everything that arrives here is hostile: names are looked up among those that are served, never on a disk.
"""
