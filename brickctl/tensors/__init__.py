"""Tensors on disk: strict safetensors headers, streaming writers, and the executor that turns plans into bytes."""
