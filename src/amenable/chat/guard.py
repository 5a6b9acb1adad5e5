"""Keeps control tokens out of people's text: "<|end|>" typed by a user is seven characters, never the stop token.

A rendered conversation is one string in which the template's control tokens and the control tokens' spelling inside a
message look alike. So each message is rendered with such spellings replaced by marks; in the rendered text the remaining
spellings (the template's own) become control marks; then the messages' marks turn back into plain text. The string is
encoded by a twin of the tokenizer in which every control token is *named* by its control mark, so plain text cannot
reach one by any road: neither as an added token nor as a piece of a Unigram vocabulary. Marks carry a nonce drawn per
process; ids do not depend on it. Without control spellings in the messages the ids are transformers' own.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers

_NONCE = secrets.token_hex(8)


class Guard:
    """The twin tokenizer and the marks. `controls` maps each control token's spelling to its id."""

    def __init__(self, inner: tokenizers.Tokenizer, controls: Mapping[str, int]) -> None:
        self._twin = _renamed(inner, controls)
        self._spellings = {index: spelling for spelling, index in controls.items()}
        # The longest first: tokenizers, too, takes the longest of several that begin at one place.
        self._pattern = re.compile("|".join(map(re.escape, sorted(controls, key=len, reverse=True))) or r"(?!)")
        self._plain = re.compile(rf"\ue000{_NONCE}plain(\d+)\ue001")
        self._controls = dict(controls)

    def plain(self, content: str) -> str:
        """A message's content with control spellings replaced by marks, ready for the template."""
        return self._pattern.sub(lambda m: f"\ue000{_NONCE}plain{self._controls[m[0]]}\ue001", content)

    def restore(self, rendered: str) -> str:
        """The rendered text as a person would read it, marks turned back."""
        return self._plain.sub(lambda m: self._spellings[int(m[1])], rendered)

    def encode_rendered(self, rendered: str) -> list[int]:
        """Ids of a template's output over messages that went through `plain`."""
        marked = self._pattern.sub(lambda m: _control_mark(self._controls[m[0]]), rendered)
        return self._twin.encode(self.restore(marked), add_special_tokens=False).ids

    def encode(self, text: str) -> list[int]:
        """Ids of text that holds no control tokens, whatever it says."""
        return self._twin.encode(text, add_special_tokens=False).ids

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """`encode`, and from which to which character each id stands."""
        found = self._twin.encode(text, add_special_tokens=False)
        return found.ids, found.offsets

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of many texts, on all cores."""
        return [e.ids for e in self._twin.encode_batch_fast(list(texts), add_special_tokens=False)]


def _control_mark(index: int) -> str:
    return f"\ue000{_NONCE}control{index}\ue001"


def _renamed(inner: tokenizers.Tokenizer, controls: Mapping[str, int]) -> tokenizers.Tokenizer:
    """A copy in which each control token bears its control mark as its name, with the same id."""
    names = {spelling: _control_mark(index) for spelling, index in controls.items()}
    spec: dict[str, Any] = json.loads(inner.to_str())
    spec.update(post_processor=None, truncation=None, padding=None)
    for added in spec["added_tokens"]:
        if added["content"] in names:
            added.update(content=names[added["content"]], special=True, normalized=False)
    model = spec["model"]
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(piece, piece): index for piece, index in vocabulary.items()}
    elif isinstance(vocabulary, list):
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
    if "merges" in model:  # a merge that would spell a control token has lost its product
        model["merges"] = [
            m for m in model["merges"] if "".join(m if isinstance(m, list) else m.split(" ")) not in names
        ]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    return tokenizers.Tokenizer.from_str(json.dumps(spec))
