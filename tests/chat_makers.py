"""Small tokenizers of the shapes found in the wild, made on the spot: what test_chat_*.py and test_rows.py share."""

from __future__ import annotations

import json
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from amenable.chat.tokenizer import Tokenizer, train_bpe

TEXTS = [
    "The quick brown fox jumps over the lazy dog. What is the capital of France? Paris is the capital of France.",
    "How many cats sat on the mat? Seven of them. And the colour? Blue, I think. user assistant system end",
    "Grüße aus Köln! 你好，世界 🙂 12345 naïve café",
] * 4

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA2 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] | trim + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] | trim + eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
)
T3ISH = (  # turns closed by a marker that is flagged as an ordinary token; content trimmed; role names in markers
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] | trim + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


def own(vocab_size: int = 400) -> Tokenizer:
    """Our own byte-level BPE."""
    return train_bpe(TEXTS, vocab_size)


def write_folder(
    folder: Path, inner: tokenizers.Tokenizer, config: dict[str, object], generation: dict[str, object] | None = None
) -> Path:
    """A model folder with only tokenizer files."""
    folder.mkdir(parents=True, exist_ok=True)
    inner.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if generation:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def _byte_level(specials: list[tokenizers.AddedToken]) -> tokenizers.Tokenizer:
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator(TEXTS, trainer=trainer)
    inner.add_tokens(specials)
    return inner


def qwen_like(folder: Path) -> Path:
    """Byte-level BPE, ChatML, pad = the text's eos, the turn's end only in generation_config.json."""
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    inner = _byte_level([tokenizers.AddedToken(n, special=True, normalized=False) for n in names])
    config = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "bos_token": None, "chat_template": CHATML}
    ids = [inner.token_to_id(n) for n in ("<|im_end|>", "<|endoftext|>")]
    return write_folder(folder, inner, config, {"eos_token_id": ids})


def phi_like(folder: Path) -> Path:
    """Turn markers flagged as ordinary tokens that swallow the space behind them."""
    names = ["<|user|>", "<|assistant|>", "<|end|>"]
    tokens = [tokenizers.AddedToken(n, special=False, rstrip=True, normalized=False) for n in names]
    tokens += [tokenizers.AddedToken(n, special=True, normalized=False) for n in ("<s>", "</s>")]
    inner = _byte_level(tokens)
    config = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": T3ISH}
    return write_folder(
        folder, inner, config, {"eos_token_id": [inner.token_to_id("<|end|>"), inner.token_to_id("</s>")]}
    )


def llama_like(folder: Path) -> Path:
    """BPE with "▁" for spaces, prepended to the first word only, and [INST] turns that no generation prompt opens."""
    inner = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    inner.decoder = decoders.Metaspace(prepend_scheme="first", split=True)
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    trainer_texts = [*TEXTS, "[INST] [/INST] <s> </s> <"]
    inner.train_from_iterator(trainer_texts, trainer=trainer)
    config = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "chat_template": LLAMA2}
    return write_folder(folder, inner, config)


def t5_like(folder: Path) -> Path:
    """Unigram whose vocabulary holds "</s>" and "<extra_id_0>" as pieces; no bos, no chat template."""
    inner = tokenizers.Tokenizer(models.Unigram())
    inner.normalizer = normalizers.NFKC()
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    inner.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=180,
        special_tokens=["<pad>", "</s>", "<unk>", "<extra_id_0>"],
        unk_token="<unk>",
        show_progress=False,
    )
    inner.train_from_iterator([*TEXTS, "< / > _ s extra id 0"] * 2, trainer=trainer)
    config = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    folder = write_folder(folder, inner, config)
    (folder / "config.json").write_text(json.dumps({"decoder_start_token_id": 0, "eos_token_id": 1}))
    return folder


def framed(config: dict[str, str], single: str) -> Tokenizer:
    """Our own BPE with further control tokens, which a post-processor puts round every text, as BART's and NLLB's do."""
    inner = tokenizers.Tokenizer.from_str(own().inner.to_str())
    names = [*dict.fromkeys([*config.values(), *(name for name in single.split() if name != "$A")])]
    inner.add_special_tokens(names)
    pairs = [(name, inner.token_to_id(name)) for name in names]
    inner.post_processor = processors.TemplateProcessing(single=single, special_tokens=pairs)
    return Tokenizer(inner, config, decoder_start=inner.token_to_id("</s>"))
