"""The rule that puts a prompt on the training, validation or test side: a hash of its first turn. Torch-free.

One rule for files (data/split.py) and for the feedback database (feedback/rows.py), so that a question that files hold out
is held out by the database too, which holds out more. And one table of what data call the sides that they come with.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from amenable.types import AnyRecord, Comparison, Demonstration, Document, Messages, Prompt, Ranking, Split

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
FRACTIONS = (0.95, 0.025, 0.025)
"""The first must be 1 - the default of DataConfig.held_out_share (stages/data.py), so that nothing that is called held out
anywhere was trained on by default."""
PROJECT_FRACTIONS = (0.9, 0.05, 0.05)
"""Of a feedback project, whose prompts are few: a tenth is held out, all that files hold out among it."""
_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development", "eval", "evaluation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def side_named(name: object) -> Split | None:
    """The side that public data call so, in any case, by the first word of the name; None if it names none.

    >>> [side_named(name) for name in ("Val", "test_sft", "validation-matched", "unsupervised", None)]
    ['validation', 'test', 'validation', None, None]
    """
    return _NAMES.get(re.split(r"[_.-]", str(name).strip().casefold(), maxsplit=1)[0])


def split_of(key: str, fractions: Sequence[float] = FRACTIONS, seed: int = 0) -> Split:
    """The side of a key; `fractions` of train, validation and test are relative shares.

    >>> split_of("What is the capital of France?"), split_of("Name a colour.", seed=7)
    ('train', 'test')
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
