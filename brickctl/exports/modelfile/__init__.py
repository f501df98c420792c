"""What Ollama needs beside a GGUF file: a template in Go's words, and the syntax of its Modelfile."""
