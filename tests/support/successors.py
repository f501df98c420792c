"""A Llama small enough to compute by hand: it names, for every character, the one that follows."""

from collections.abc import Mapping
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<bos>", "<eos>")
CHARACTERS = "\n abcdefghijklmnopqrstuvwxyz"
VOCABULARY = {token: at for at, token in enumerate((*SPECIAL, *CHARACTERS))}
SIZE = 32
CONTEXT = 64


def character_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character, `<bos>` before every text."""
    inner = Tokenizer(models.BPE(vocab=VOCABULARY, merges=[], unk_token="<pad>"))  # noqa: S106 - no password
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    inner.decoder = decoders.Fuse()
    inner.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")  # noqa: S106 - no password


def random_llama(seed: int = 0) -> Any:
    """A Llama of random numbers, with attention that looks far back."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=SIZE,
        hidden_size=SIZE,
        intermediate_size=SIZE,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.5,
        rms_norm_eps=1e-12,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def following(successors: Mapping[str, str], logit: float = 10.0) -> Any:
    """A Llama that follows each token with its successor, `<eos>` where it has none.

    Layers add nothing, embeddings are unit vectors, and RMSNorm makes their one entry sqrt(SIZE): the head turns that
    into `logit` for the successor and 0 for all others.
    """
    model = random_llama()
    head = torch.zeros(SIZE, SIZE)
    names = {at: token for token, at in VOCABULARY.items()}
    for at in range(SIZE):
        head[VOCABULARY[successors.get(names.get(at, ""), "<eos>")], at] = logit / SIZE**0.5
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(SIZE))
        model.lm_head.weight.copy_(head)
    return model
