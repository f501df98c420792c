"""Qwen 2, 2.5 and 3, the dense ones."""

from brickctl.exports.llama_cpp.architectures.architecture import Architecture, register

register("Qwen2ForCausalLM", Architecture(name="qwen2"))
register("Qwen3ForCausalLM", Architecture(name="qwen3"))
