"""Tiny pretrained models with the kinds of tokenizers that people's teachers have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.unit.models.families import build

TEXTS = [f"La casa número {n} está junto al río, y la casa {n + 1} no.\n\tif x == {n}: return" for n in range(40)]
END = "<|endoftext|>"


def byte_level(special: list[str], **pre: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, **pre)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def gpt2() -> tuple[Tokenizer, dict[str, Any]]:
    """One special token, which comes last and stands for everything."""
    tokenizer = byte_level([])
    tokenizer.add_special_tokens([END])
    return tokenizer, {"bos_token": END, "eos_token": END, "unk_token": END}


def llama3() -> tuple[Tokenizer, dict[str, Any]]:
    """A begin token that the post-processor writes, two end tokens, tools, a chat template, and no `<unk>`."""
    tokenizer = byte_level([])
    tokenizer.add_special_tokens(["<|begin|>", "<|end|>", "<|eot|>"])
    tokenizer.add_tokens(["<tool>"])
    begin = tokenizer.token_to_id("<|begin|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", pair="<|begin|> $A <|begin|> $B", special_tokens=[("<|begin|>", begin)]
    )
    return tokenizer, {"bos_token": "<|begin|>", "eos_token": "<|end|>", "chat_template": "{{ messages[0] }}"}


def qwen() -> tuple[Tokenizer, dict[str, Any]]:
    """No begin token; the end of a turn is named as the end, documents end otherwise."""
    tokenizer = byte_level([])
    tokenizer.add_special_tokens([END, "<|im_start|>", "<|im_end|>"])
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer, {"eos_token": "<|im_end|>", "pad_token": END}


def sentencepiece() -> tuple[Tokenizer, dict[str, Any]]:
    """BPE with bytes to fall back to, and a space in front of each text."""
    words = sorted({piece for text in TEXTS for piece in text if not piece.isspace()} | {"▁", "\n", "\t"})
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words, "▁l", "▁la", "ca", "sa"]
    merges = [("▁", "l"), ("▁l", "a"), ("c", "a"), ("s", "a")]
    vocabulary = {name: index for index, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return tokenizer, {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}


def unigram() -> tuple[Tokenizer, dict[str, Any]]:
    """Unigram, NFKC, a space in front of a text without one; `</s>` begins a text, as in XGLM."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="</s> $A", pair="</s> $A </s> $B", special_tokens=[("</s>", 1)]
    )
    return tokenizer, {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}


KINDS = {"gpt2": gpt2, "llama3": llama3, "qwen": qwen, "sentencepiece": sentencepiece, "unigram": unigram}


def write(kind: str, folder: Path, padding: int = 0, family: str = "llama", **options: Any) -> Path:
    """A model with a tokenizer of a kind, as transformers writes it, with rows beyond its tokens."""
    from transformers import GenerationConfig, PreTrainedTokenizerFast

    tokenizer, names = KINDS[kind]()
    size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    model = build(family, vocab_size=size + padding)
    if kind == "llama3":
        ends = [tokenizer.token_to_id("<|end|>"), tokenizer.token_to_id("<|eot|>")]
        model.generation_config = GenerationConfig(eos_token_id=ends, do_sample=True, temperature=0.6)
    model.save_pretrained(folder, **options)
    return folder
