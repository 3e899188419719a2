"""SmolLM2's tokenizer out of the GGUF, as `transformers` reads it and as the file means it.

Writes nothing by itself. transformers 5.23 ignores `tokenizer.ggml.pre = smollm`: it splits by
the GPT-2 pattern alone, where the model was trained with every digit split off first, as
llama.cpp does it. The two differ only before a digit: "\\n\\n7" is "\\n\\n", "7" and not "\\n",
"\\n", "7"."""

import copy

from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

import common


def load():
    """(the tokenizer that the file means, the one that transformers makes of it)"""
    plain = AutoTokenizer.from_pretrained(common.model_folder(), gguf_file='model.gguf')
    meant = copy.deepcopy(plain)
    meant.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    return meant, plain


def text_ids(tokenizer, text):
    """The ids of text in which nothing is a special token."""
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)['input_ids']


def chat_ids(tokenizer, messages):
    """The rendered prompt, and its ids with the template's own special tokens."""
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text, tokenizer(text, add_special_tokens=False)['input_ids']


def _letters():
    """The letter that stands for each byte in byte-level BPE."""
    shown = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {**{byte: chr(byte) for byte in shown},
            **{byte: chr(256 + i) for i, byte in enumerate(hidden)}}


LETTERS = _letters()
BYTES = {letter: byte for byte, letter in LETTERS.items()}


def bytes_without_token(tokenizer):
    """Some bytes have no token, not even by themselves: they cannot be encoded."""
    vocabulary = tokenizer.get_vocab()
    return [byte for byte in range(256) if LETTERS[byte] not in vocabulary]


def token_bytes(tokenizer, id):
    return bytes(BYTES[letter] for letter in tokenizer.convert_ids_to_tokens(id))
