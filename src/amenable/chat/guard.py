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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import tokenizers

from amenable.errors import DataError

_NONCE = secrets.token_hex(8)
_SURROGATE = re.compile(r"[\ud800-\udfff]")


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
        return self.encode(self.restore(marked))

    def encode(self, text: str) -> list[int]:
        """Ids of text that holds no control tokens, whatever it says."""
        return self.encode_with_offsets(text)[0]

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """`encode`, and from which to which character each id stands."""
        with _no_half_characters((text,)):
            found = self._twin.encode(text, add_special_tokens=False)
        return found.ids, found.offsets

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of many texts, on all cores."""
        with _no_half_characters(texts):
            return [e.ids for e in self._twin.encode_batch_fast(list(texts), add_special_tokens=False)]


def written_with(inner: tokenizers.Tokenizer, spellings: Iterable[str]) -> frozenset[str]:
    """Those of `spellings` that plain text needs: pieces of the model that are one character, or parts of a merge.

    Some folders name such a piece as their padding or eos. Under another name it would be lost to all text.
    """
    pieces = inner.get_vocab(with_added_tokens=False)
    known = {s for s in spellings if s in pieces}
    merges = json.loads(inner.to_str())["model"].get("merges", ()) if known else ()
    parts = {part for merge in merges for part in (merge if isinstance(merge, list) else merge.split(" "))}
    return frozenset(s for s in known if len(s) == 1 or s in parts)


@contextmanager
def _no_half_characters(texts: Sequence[str]) -> Iterator[None]:
    """A lone surrogate, which Python's strings can hold and UTF-8 cannot, is the caller's mistake and named as such."""
    try:
        yield
    except TypeError:
        found = next((m for m in map(_SURROGATE.search, texts) if m), None)
        if found is None:
            raise
        raise DataError(
            f"half a character (U+{ord(found[0]):04X}) stands in the text, before {found.string[found.end() :][:20]!r}",
            mend='read it as UTF-8, or mend it: text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")',
        ) from None


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
