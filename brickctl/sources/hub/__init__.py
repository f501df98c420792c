"""The Hugging Face Hub. Nothing outside this package imports huggingface_hub, which takes 0.2 s: it comes late."""
