"""What llama.cpp needs of a model: names, metadata, tokens and tensors of a GGUF file."""
