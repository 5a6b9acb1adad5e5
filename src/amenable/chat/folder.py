"""The tokenizer files of a Hugging Face folder: which there are, and what they say.

Read: tokenizer.json, tokenizer_config.json, special_tokens_map.json, chat_template.jinja, generation_config.json and
config.json (further stop tokens, the decoder's start token). A folder that has only an older tokenizer format goes
through transformers, which converts it. Nothing in a folder is ever executed but the sandboxed template.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers

from amenable.errors import ModelError

NAMES = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
OLDER_FORMATS = ("tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "sentencepiece.bpe.model", "tekken.json")


@dataclass(frozen=True)
class TokenizerFiles:
    """What a folder says about its tokenizer.

    specials      {"bos_token": "<s>", ...} of NAMES, those that are set
    stop_ids      eos ids of generation_config.json or config.json; may be empty
    decoder_start id that an encoder-decoder's decoder begins with, or None
    config        tokenizer_config.json as it stands, to be written back
    """

    inner: tokenizers.Tokenizer
    specials: dict[str, str]
    chat_template: str | None
    stop_ids: tuple[int, ...]
    decoder_start: int | None
    config: dict[str, Any] = field(default_factory=dict)


def read_tokenizer_files(folder: Path) -> TokenizerFiles:
    """The tokenizer files of `folder`. Raises ModelError if there are none or they cannot be read."""
    if not folder.is_dir():
        raise ModelError(
            "there is no such model folder", where=str(folder), mend="give a folder in Hugging Face layout"
        )
    config = _read_json(folder / "tokenizer_config.json")
    inner = _read_inner(folder)
    inner.no_truncation()
    inner.no_padding()
    specials = _specials(config, _read_json(folder / "special_tokens_map.json"))
    _add_missing(inner, config, specials)
    generation, model = _read_json(folder / "generation_config.json"), _read_json(folder / "config.json")
    stops = _ids(generation.get("eos_token_id")) or _ids(model.get("eos_token_id"))
    start = generation.get("decoder_start_token_id", model.get("decoder_start_token_id"))
    return TokenizerFiles(inner, specials, _chat_template(folder, config), stops, start, config)


def _read_inner(folder: Path) -> tokenizers.Tokenizer:
    path = folder / "tokenizer.json"
    if path.is_file():
        try:
            return tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # tokenizers raises plain Exception
            raise ModelError(
                f"the tokenizer file cannot be read: {error}", where=str(path), mend="get the file again"
            ) from error
    if not any((folder / name).is_file() for name in OLDER_FORMATS):
        raise ModelError(
            "the model folder has no tokenizer",
            where=str(folder),
            mend="copy tokenizer.json and tokenizer_config.json of the model into it, or name another tokenizer folder",
        )
    return _convert(folder)


def _convert(folder: Path) -> tokenizers.Tokenizer:
    from transformers import AutoTokenizer

    try:
        converted = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        return tokenizers.Tokenizer.from_str(converted.backend_tokenizer.to_str())
    except Exception as error:  # the converters raise of all kinds: ImportError, ValueError, AttributeError
        raise ModelError(
            f"the tokenizer could not be converted: {error}",
            where=str(folder),
            mend="convert it to tokenizer.json with transformers (it may need the package sentencepiece)",
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"the file is not valid JSON: {error}", where=str(path), mend="get the file again") from error
    if not isinstance(content, dict):
        raise ModelError("the file does not hold a JSON object", where=str(path), mend="get the file again")
    return content


def _specials(config: dict[str, Any], older: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in NAMES:
        value = config[name] if name in config else older.get(name)
        content = value.get("content") if isinstance(value, dict) else value
        if isinstance(content, str) and content:
            found[name] = content
    return found


def _add_missing(inner: tokenizers.Tokenizer, config: dict[str, Any], specials: dict[str, str]) -> None:
    """Tokens that only tokenizer_config.json names; transformers adds them in the same order."""
    listed = config.get("added_tokens_decoder") or {}
    for index in sorted(listed, key=int):
        entry = listed[index]
        if inner.token_to_id(entry["content"]) is None:
            flags = {k: entry[k] for k in ("lstrip", "rstrip", "single_word", "normalized", "special") if k in entry}
            inner.add_tokens([tokenizers.AddedToken(entry["content"], **flags)])
    for content in specials.values():
        if inner.token_to_id(content) is None:
            inner.add_special_tokens([content])


def _chat_template(folder: Path, config: dict[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):  # several named templates
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    return template if isinstance(template, str) else None


def _ids(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(int(v) for v in value) if isinstance(value, list) else (int(value),)
