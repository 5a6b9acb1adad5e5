"""The rule that puts a prompt on the training, validation or test side: a hash of its first turn. Torch-free.

One rule for files (data/split.py) and for the feedback database (feedback/rows.py), so that a question that one of them
holds out is held out by the other too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from amenable.types import AnyRecord, Comparison, Demonstration, Document, Messages, Prompt, Ranking, Split

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
FRACTIONS = (0.9, 0.05, 0.05)


def split_of(key: str, fractions: Sequence[float] = FRACTIONS, seed: int = 0) -> Split:
    """The side of a key; `fractions` of train, validation and test are relative shares.

    >>> split_of("What is the capital of France?"), split_of("Name a colour.", seed=3)
    ('train', 'validation')
    """
    assert len(fractions) == 3 and min(fractions) >= 0 and sum(fractions) > 0, fractions
    digest = hashlib.blake2b(f"{seed}:{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    point = (int.from_bytes(digest, "big") >> 11) / 2**53 * sum(fractions)  # 53 bits: below 1 as a float, too
    if point < fractions[0]:
        return "train"
    return "validation" if point < fractions[0] + fractions[1] or fractions[2] == 0 else "test"


def prompt_key(record: AnyRecord) -> str:
    """What a record is split by: the first user turn, case and spacing aside; a document's id.

    Without a user turn: the first message. With an empty prompt: the text itself, of several the
    alphabetically first.

    >>> from amenable.types import user
    >>> prompt_key(Prompt(id="p", messages=(user("Name a  Colour."),)))
    'name a colour.'
    """
    if isinstance(record, Document):
        return record.id
    if isinstance(record, Prompt | Demonstration):
        return first_turn(record.messages)
    if record.prompt:
        return first_turn(record.prompt)
    if isinstance(record, Comparison):
        return plain(min(record.chosen, record.rejected))
    if isinstance(record, Ranking):
        return plain(min(record.responses, default=""))
    return plain(record.response)


def first_turn(messages: Messages) -> str:
    """What a conversation is split by: its first user turn, else its first message, case and spacing aside.

    >>> from amenable.types import user
    >>> first_turn((user("Name a  Colour."),))
    'name a colour.'
    """
    said = [m.content for m in messages if m.role == "user"] or [m.content for m in messages]
    return plain(said[0]) if said else ""


def plain(text: str) -> str:
    """Text without regard to case and spacing."""
    return " ".join(text.casefold().split())
