"""Examples of a task to rows of tokens, for each family of model.

                    decoder                     encoder                      encoder-decoder
    text, pair      start A end [B end]         cls A sep [B sep]            source A end [B end]; target: its start token
    words           start w w w end             cls w w w sep                source w w w end; target: start w w w
    extraction      start Q end P end           cls Q sep P sep              source Q end P end; target: start P

A decoder's end parts the texts, as Radford et al. 2018 do; an encoder-decoder's source has before A and behind each text what
its tokenizer puts there (BART's <s> and </s>), else only eos behind. What each row carries, all float32 once collated:

    classification  class                       read at the encoder's first token, else at the last one
    regression      number                      likewise; standardised, see Scale
    tokens          class (per token)           trained: the first token of each word
    extraction      begins, ends (per token)    1 where the answer does; trained: the passage's tokens
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta

from amenable.chat.tokenizer import Tokenizer
from amenable.data.examples import Example, Task
from amenable.data.rows import Column, Ints, ModelKind, Overlong, Row, TokeniseReport, Unit
from amenable.errors import DataError, ModelError
from amenable.types import Record

Offsets = list[tuple[int, int]]


class Scale(Record, frozen=True):
    """What numbers are divided by after the mean was taken off, so that a model of any task begins at the same size."""

    mean: float = 0.0
    spread: Annotated[float, Meta(gt=0)] = 1.0


class ExampleSettings(Record, frozen=True):
    """How examples become rows. labels: the classes, or tags, in the order of their numbers."""

    task: Task
    context: int
    model_kind: ModelKind
    labels: tuple[str, ...] = ()
    scale: Scale = Scale()
    overlong: Overlong = "reject"


def example_units(
    examples: Sequence[Example], tokenizer: Tokenizer, settings: ExampleSettings
) -> tuple[list[Unit], TokeniseReport]:
    """One row per example that fits the context, in their order, and a count of what was left out and why.

    Too long: left out, or the longer of its texts loses its beginning (overlong="truncate_left_prompt"); an answer or tags
    that are cut off with it leave the example out. Raises DataError under overlong="error".
    """
    numbers = {label: n for n, label in enumerate(settings.labels)}
    units: list[Unit] = []
    reasons: Counter[str] = Counter()
    truncated = 0
    for example in examples:
        made = _row(example, tokenizer, settings, numbers)
        if isinstance(made, str):
            reasons[made] += 1
            continue
        row, was_cut = made
        truncated += was_cut
        units.append([row])
    return units, TokeniseReport(len(units), sum(reasons.values()), truncated, dict(reasons))


def _row(
    example: Example, tokenizer: Tokenizer, settings: ExampleSettings, numbers: Mapping[str, int]
) -> tuple[Row, bool] | str:
    """The row and whether something was cut, or the reason why there is none."""
    task = settings.task
    offsets: Offsets = []
    if task == "tokens":
        ids, firsts = _words(example.words, tokenizer)
        texts = [ids]
    elif task == "extraction":
        passage, offsets = tokenizer.encode_with_offsets(example.text)
        texts = [tokenizer.encode(example.second), passage]
    else:
        texts = [tokenizer.encode(t) for t in (example.text, example.second) if t]
    first, last = frame_of(tokenizer, settings.model_kind)
    room = settings.context - len(first) - len(last) * len(texts)
    excess = sum(map(len, texts)) - room
    gone = 0
    if excess > 0:
        if settings.overlong == "error":
            raise DataError(
                f"the example has {excess} tokens more than the context of {settings.context} holds",
                where=f"example {example.id}",
                mend="shorten it, raise the context, or set overlong to reject or truncate_left_prompt",
            )
        longest = max(range(len(texts)), key=lambda i: len(texts[i]))
        if settings.overlong == "reject" or task == "tokens" or excess >= len(texts[longest]):
            return "longer than the context"
        texts[longest] = texts[longest][excess:]
        gone = excess if longest == len(texts) - 1 else 0
    body: list[int] = list(first)
    starts = []
    for text in texts:
        starts.append(len(body))
        body += [*text, *last]
    trained = np.zeros(len(body), dtype=np.bool_)
    columns: dict[str, Column] = {}
    if task == "classification":
        columns["class"] = float(numbers.get(example.label, 0))  # without a label only an answer is wanted
    elif task == "regression":
        columns["number"] = (example.number - settings.scale.mean) / settings.scale.spread
    elif task == "tokens":
        trained[np.array(firsts) + starts[0]] = True
        classes = np.zeros(len(body), dtype=np.float32)
        if example.tags:
            classes[trained] = [numbers[tag] for tag in example.tags]
        columns["class"] = classes
    else:
        span = answer_tokens(example, offsets) if example.answers else (gone, gone)
        if span is None or span[0] < gone:
            return "the answer is cut off with the beginning of the passage"
        trained[starts[-1] : starts[-1] + len(texts[-1])] = True
        for name, at in zip(("begins", "ends"), span, strict=True):
            marks = np.zeros(len(body), dtype=np.float32)
            marks[starts[-1] + at - gone] = 1
            columns[name] = marks
    if settings.model_kind == "seq2seq":
        return _beside_source(body, trained, columns, starts[-1], len(texts[-1]), example, tokenizer), excess > 0
    return Row(np.array(body, dtype=np.int32), trained, columns, example), excess > 0


def frame_of(tokenizer: Tokenizer, kind: ModelKind) -> tuple[list[int], list[int]]:
    """What stands before the first text and after each. Raises ModelError if a tokenizer has no token to end a text."""
    if kind == "decoder":
        first, last = tokenizer.start_ids, [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    else:
        first, last = tokenizer.frame if kind == "encoder" else tokenizer.source_frame
    if not last:
        raise ModelError(
            "the tokenizer names no token that ends a text", where="tokenizer_config.json", mend="name its eos_token"
        )
    return first, last


def answer_tokens(example: Example, offsets: Offsets) -> tuple[int, int] | None:
    """(first, last) token of the first answer, where it is said to begin or at its first place in the passage.

    >>> e = Example(id="e", text="the red cat", answers=("red",))
    >>> answer_tokens(e, [(0, 3), (3, 7), (7, 11)])
    (1, 1)
    """
    begin = example.start if example.start >= 0 else example.text.find(example.answers[0])
    end = begin + len(example.answers[0])
    inside = [i for i, (start, stop) in enumerate(offsets) if start < end and stop > begin]
    return (inside[0], inside[-1]) if begin >= 0 and inside else None


def _words(words: Sequence[str], tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Ids of words, and where each begins. A word that the tokenizer knows nothing of, as a lone space, is read as "?"."""
    ids: list[int] = []
    firsts: list[int] = []
    for n, word in enumerate(words):
        own = tokenizer.encode(f" {word}" if n else word) or tokenizer.encode("?")
        firsts.append(len(ids))
        ids += own
    return ids, firsts


def _beside_source(
    source: list[int],
    trained: np.ndarray,
    columns: Mapping[str, Column],
    start: int,
    length: int,
    example: Example,
    tokenizer: Tokenizer,
) -> Row:
    """The row of an encoder-decoder: all is the source; what is judged token by token stands in the target once more."""
    assert tokenizer.decoder_start is not None
    begin = [tokenizer.decoder_start]
    if not trained.any():
        return Row(_ints(begin), np.zeros(1, dtype=np.bool_), columns, example, _ints(source))
    inside = slice(start, start + length)
    moved: dict[str, Column] = {
        name: np.concatenate([np.zeros(1, dtype=np.float32), values[inside]])
        for name, values in columns.items()
        if isinstance(values, np.ndarray)
    }
    return Row(
        _ints([*begin, *source[inside]]),
        np.concatenate([np.zeros(1, dtype=np.bool_), trained[inside]]),
        moved,
        example,
        _ints(source),
    )


def _ints(ids: Sequence[int]) -> Ints:
    return np.array(ids, dtype=np.int32)
