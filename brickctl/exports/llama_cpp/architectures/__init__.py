"""Architectures as llama.cpp knows them: one family a file, found by import."""
