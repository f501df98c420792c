"""Llama, and Mistral, which llama.cpp calls by the same name: SmolLM2, TinyLlama, Llama 2 and 3, Mistral 7B."""

from brickctl.exports.llama_cpp.architectures.architecture import Architecture, register

_LLAMA = Architecture(name="llama", interleaved=True, tells_rows=True)

register("LlamaForCausalLM", _LLAMA)
register("MistralForCausalLM", _LLAMA)
