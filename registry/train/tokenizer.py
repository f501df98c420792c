"""A tokenizer of single characters, saved in the form that every `transformers` since 4.0 loads as a fast tokenizer."""

import json
from pathlib import Path
from string import ascii_letters, digits

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

PADDING, BEGINNING, END, UNKNOWN = "<pad>", "<bos>", "<eos>", "<unk>"
SPECIAL_TOKENS = (PADDING, BEGINNING, END, UNKNOWN)
CHARACTERS = f"\n :=.,-?!{ascii_letters}{digits}"
VOCABULARY = {token: identifier for identifier, token in enumerate((*SPECIAL_TOKENS, *CHARACTERS))}
CONTEXT = 128
"""Longest sequence, in tokens."""


def save_tokenizer(folder: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json`.

    `save_pretrained` of transformers 5 names a class that transformers 4 does not have, so the second is written here.
    """
    character_tokenizer().save(str(folder / "tokenizer.json"))
    settings = {
        "bos_token": BEGINNING,
        "clean_up_tokenization_spaces": False,
        "eos_token": END,
        "model_input_names": ["input_ids", "attention_mask"],  # no token types: transformers 4 refuses them in a Llama
        "model_max_length": CONTEXT,
        "pad_token": PADDING,
        "padding_side": "left",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": UNKNOWN,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def character_tokenizer() -> Tokenizer:
    """BPE without merges: one token a character, `<bos>` before every text, decoding joins without spaces."""
    tokenizer = Tokenizer(models.BPE(vocab=VOCABULARY, merges=[], unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGINNING} $A",
        pair=f"{BEGINNING} $A {BEGINNING}:1 $B:1",
        special_tokens=[(BEGINNING, VOCABULARY[BEGINNING])],
    )
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer
