"""Records to rows of tokens, and rows to Batches: one function per kind of record, one rule for what is too long.

A unit is a list of Rows that may not be cut apart: one document chunk, the two sides of a comparison (chosen
first), the K responses of a ranking. What each kind's rows carry in `columns` (all float32 once collated):

    documents, demonstrations   nothing
    comparisons                 chosen 1/0, margin (0 where none is given)
    rankings                    tier (0 is best)
    ratings                     score, low, high
    labels                      label 1/0
    rollouts                    sampling.logprobs (per token), finished 1/0, token_rewards (per token, where given)

Sequence-to-sequence rows have the prompt as `source`, and their tokens begin with the decoder's start token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray

from amenable.batch import Batch, Vocabulary, pad
from amenable.chat.render import Rendered, render, render_prompt, render_response, render_source, render_target
from amenable.chat.tokenizer import Tokenizer
from amenable.errors import DataError, EmptyMaskError, RolloutError, TemplateError
from amenable.types import (
    AnyRecord,
    Comparison,
    Demonstration,
    Document,
    Label,
    Messages,
    Prompt,
    Ranking,
    Rating,
    Record,
    Rollout,
)

Overlong = Literal["reject", "truncate_left_prompt", "error"]
ModelKind = Literal["decoder", "seq2seq", "encoder"]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]
Column = float | NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Row:
    """One tokenised example.

    tokens, trained   of equal length; trained[0] is False
    columns           a number, or one number per token
    record            what it came from
    source            encoder input, or None
    """

    tokens: Ints
    trained: Bools
    columns: Mapping[str, Column] = field(default_factory=dict)
    record: Any = None
    source: Ints | None = None

    def __len__(self) -> int:
        return len(self.tokens) + (0 if self.source is None else len(self.source))


Unit = list[Row]


class RowSettings(Record, frozen=True):
    """How records become rows."""

    context: Annotated[int, Meta(ge=2, description="tokens of a row at most; source and target each, if seq2seq")]
    model_kind: Annotated[
        ModelKind, Meta(description="decoder: one sequence; seq2seq: source and target; encoder: one framed sequence")
    ] = "decoder"
    train_on: Annotated[
        Literal["all", "last"], Meta(description="demonstrations: all assistant turns, or only the last")
    ] = "all"
    group_by_prompt: Annotated[
        bool, Meta(description="all comparisons of one prompt share a unit (Ouyang et al. 2022)")
    ] = False
    overlong: Annotated[
        Overlong,
        Meta(description="row too long: leave it out; cut the prompt at its left (bos stays); or stop with an error"),
    ] = "reject"


@dataclass(frozen=True)
class TokeniseReport:
    """What became of the records: kept + rejected is all of them; truncated ones are among the kept."""

    kept: int
    rejected: int
    truncated: int
    reasons: Mapping[str, int] = field(default_factory=dict)


def tokenise(
    records: Sequence[AnyRecord], tokenizer: Tokenizer, settings: RowSettings
) -> tuple[list[Unit], TokeniseReport]:
    """Units of training rows, in the order of the records, with a count of what was left out and why.

    Documents go through `tokenise_documents`, prompts through `prompt_ids`. A record is kept or rejected as a whole.
    Raises DataError on an overlong record under overlong="error", and TemplateError if every record fails in the template.
    """
    if records and isinstance(records[0], Document):
        documents = cast(Sequence[Document], records)
        if settings.model_kind == "decoder":
            rows = tokenise_documents(documents, tokenizer, settings.context)
        else:
            frame = tokenizer.frame if settings.model_kind == "encoder" else ([], [])
            rows = tokenise_texts(documents, tokenizer, settings.context, frame)
        return [[row] for row in rows], TokeniseReport(len(records), 0, 0)
    maker = _Maker(tokenizer, settings)
    units: list[Unit] = []
    kept: list[AnyRecord] = []
    for record in records:
        unit = maker.unit(record)
        if unit is not None:
            units.append(unit)
            kept.append(record)
    if records and not units and maker.template_error is not None:
        raise maker.template_error
    if settings.group_by_prompt:
        units = _grouped(units, kept)
    reasons = dict(maker.reasons)
    return units, TokeniseReport(len(kept), len(records) - len(kept), maker.truncated, reasons)


def tokenise_documents(docs: Iterable[Document], tokenizer: Tokenizer, context: int) -> list[Row]:
    """Documents as bos + text + eos, cut into rows of at most `context` tokens.

    Neighbouring rows share one token, the last of one and the untrained first of the next, so every token but bos is
    trained exactly once. Rows are views of one int32 array per block of documents.
    """
    assert context >= 2, context
    end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    all_but_first = np.ones(context, dtype=np.bool_)
    all_but_first[0] = False
    rows: list[Row] = []
    for block in _blocks(docs):
        wrapped = [tokenizer.start_ids + ids + end for ids in tokenizer.encode_batch([d.text for d in block])]
        flat = np.fromiter((t for ids in wrapped for t in ids), dtype=np.int32, count=sum(map(len, wrapped)))
        offset = 0
        for doc, ids in zip(block, wrapped, strict=True):
            for start in range(0, len(ids) - 1, context - 1):
                tokens = flat[offset + start : offset + min(start + context, len(ids))]
                rows.append(Row(tokens, all_but_first[: len(tokens)], record=doc))
            offset += len(ids)
    return rows


def tokenise_texts(
    docs: Iterable[Document], tokenizer: Tokenizer, context: int, frame: tuple[list[int], list[int]]
) -> list[Row]:
    """Documents for objectives that hide a part: pieces of the text, each between what frames it.

    trained: what may be hidden, that is the text itself. Without a frame there is room for one token more, of a source or
    target.
    """
    first, last = (np.array(ids, dtype=np.int32) for ids in frame)
    size = context - max(len(first) + len(last), 1)
    rows: list[Row] = []
    for block in _blocks(docs):
        for doc, ids in zip(block, tokenizer.encode_batch([d.text for d in block]), strict=True):
            for start in range(0, len(ids), size):
                piece = np.array(ids[start : start + size], dtype=np.int32)
                trained = np.ones(len(first) + len(piece) + len(last), dtype=np.bool_)
                trained[: len(first)] = trained[len(first) + len(piece) :] = False
                rows.append(Row(np.concatenate([first, piece, last]), trained, record=doc))
    return rows


def vocabulary_of(tokenizer: Tokenizer) -> Vocabulary:
    """What objectives that hide a part of the text must know of a tokenizer."""
    opens, closes = tokenizer.word_edges
    return Vocabulary(
        size=tokenizer.vocab_size,
        mask_id=tokenizer.mask_id,
        sentinel_ids=tokenizer.sentinel_ids,
        start_id=tokenizer.decoder_start,
        eos_id=tokenizer.eos_id,
        opens_V=torch.tensor(opens),
        closes_V=torch.tensor(closes),
    )


def prompt_ids(
    prompts: Iterable[Prompt],
    tokenizer: Tokenizer,
    max_prompt_tokens: int,
    *,
    overlong: Overlong = "reject",
    model_kind: ModelKind = "decoder",
) -> tuple[list[tuple[Prompt, list[int]]], TokeniseReport]:
    """(prompt, ids to generate from) of each prompt that fits; for seq2seq the ids are the encoder's.

    Raises TemplateError if the chat template refuses every prompt; one that it refuses among others is counted.
    """
    found: list[tuple[Prompt, list[int]]] = []
    reasons: Counter[str] = Counter()
    truncated = 0
    encode = render_prompt if model_kind == "decoder" else render_source
    refused: TemplateError | None = None
    for prompt in prompts:
        try:
            ids = encode(prompt.messages, tokenizer)
        except TemplateError as error:
            refused = error
            reasons[f"template: {error.what}"] += 1
            continue
        if len(ids) > max_prompt_tokens:
            _refuse_if_error(overlong, prompt.id, len(ids), max_prompt_tokens)
            if overlong == "reject":
                reasons["prompt too long"] += 1
                continue
            keep = 1 if ids[:1] == [tokenizer.bos_id] else 0
            ids = ids[:keep] + ids[len(ids) - max_prompt_tokens + keep :]
            truncated += 1
        found.append((prompt, ids))
    if refused is not None and not found:
        raise refused
    return found, TokeniseReport(len(found), sum(reasons.values()), truncated, dict(reasons))


def rollout_rows(
    rollouts: Sequence[Rollout], unit_ids: Sequence[int], *, decoder_start: int | None = None
) -> list[Unit]:
    """Rows of generated responses, grouped by unit id in order of first appearance.

    Trained are the response tokens that the policy itself drew. With `decoder_start` the prompt is the encoder's source.
    Raises RolloutError for a failed rollout: the caller filters and counts those; EmptyMaskError for one without a token.
    """
    units: dict[int, Unit] = {}
    for rollout, unit in zip(rollouts, unit_ids, strict=True):
        units.setdefault(unit, []).append(_rollout_row(rollout, decoder_start))
    return list(units.values())


def collate(units: Sequence[Unit], stream: str = "") -> Batch:
    """The units' rows as one Batch, padded on the right; every row must have the same columns."""
    rows = [row for unit in units for row in unit]
    assert rows, "no rows to collate"
    tokens_BT = pad([torch.from_numpy(r.tokens) for r in rows], dtype=torch.long)
    lengths_B = torch.tensor([len(r.tokens) for r in rows])
    sources = [r.source for r in rows if r.source is not None]
    assert len(sources) in (0, len(rows)), "rows with and without a source in one batch"
    names = rows[0].columns.keys()
    assert all(r.columns.keys() == names for r in rows), "rows of different columns in one batch"
    return Batch(
        tokens_BT=tokens_BT,
        valid_BT=torch.arange(tokens_BT.shape[1]) < lengths_B[:, None],
        trained_BT=pad([torch.from_numpy(r.trained) for r in rows], dtype=torch.bool),
        unit_B=torch.tensor([i for i, unit in enumerate(units) for _ in unit]),
        columns={name: _column([r.columns[name] for r in rows], tokens_BT.shape[1]) for name in names},
        records=tuple(r.record for r in rows),
        source_BS=pad([torch.from_numpy(s) for s in sources], dtype=torch.long) if sources else None,
        source_valid_BS=pad([torch.ones(len(s)) for s in sources], dtype=torch.bool) if sources else None,
        stream=stream,
    )


@dataclass
class _Maker:
    """Makes units one record at a time and counts what it refuses."""

    tokenizer: Tokenizer
    settings: RowSettings
    truncated: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    template_error: TemplateError | None = None

    def unit(self, record: AnyRecord) -> Unit | None:
        try:
            unit = self._rows(record)
        except TemplateError as error:
            self.template_error = error
            return self._reject(f"template: {error.what}")
        if not all(row.trained.any() for row in unit):
            return self._reject("no trained token")
        return self._fit(unit, record)

    def _rows(self, record: AnyRecord) -> Unit:
        match record:
            case Demonstration():
                return [self._demonstration(record)]
            case Comparison():
                margin = record.margin or 0.0
                return [
                    self._response(record.prompt, text, record, {"chosen": chosen, "margin": margin})
                    for text, chosen in ((record.chosen, 1.0), (record.rejected, 0.0))
                ]
            case Ranking():
                pairs = zip(record.responses, record.tiers, strict=True)
                return [self._response(record.prompt, text, record, {"tier": float(tier)}) for text, tier in pairs]
            case Rating():
                columns = {"score": record.score, "low": record.low, "high": record.high}
                return [self._response(record.prompt, record.response, record, columns)]
            case Label():
                return [self._response(record.prompt, record.response, record, {"label": float(record.label)})]
            case _:
                raise TypeError(f"{type(record).__name__} makes no training rows here")

    def _demonstration(self, record: Demonstration) -> Row:
        unlearned = record.meta.get("unlearned", ())
        if self.settings.model_kind == "seq2seq":
            *before, last = record.messages
            if len(before) in unlearned:
                raise TemplateError("the last answer is not to be learned", where=record.id)
            if last.role != "assistant":
                raise TemplateError("the conversation does not end with the assistant", where=record.id)
            return self._response(tuple(before), last.content, record, {})
        last_only = self.settings.train_on == "last"
        rendered = render(record.messages, self.tokenizer, last_only=last_only, but=unlearned)
        return _row(rendered, {}, record)

    def _response(self, prompt: Messages, text: str, record: AnyRecord, columns: Mapping[str, Column]) -> Row:
        if self.settings.model_kind == "decoder":
            return _row(render_response(prompt, text, self.tokenizer), columns, record)
        target = render_target(text, self.tokenizer)
        rendered = Rendered(ids=tuple(target), trained=(False, *[True] * (len(target) - 1)))
        source = np.array(render_source(prompt, self.tokenizer), dtype=np.int32)
        return _row(rendered, columns, record, source)

    def _fit(self, unit: Unit, record: AnyRecord) -> Unit | None:
        """The unit within the context; all its rows lose as much of their common prompt as the longest must."""
        context, overlong = self.settings.context, self.settings.overlong
        longest = max(len(row.tokens if row.source is None else row.source) for row in unit)
        target = max(0 if row.source is None else len(row.tokens) for row in unit)
        if max(longest, target) <= context:
            return unit
        _refuse_if_error(overlong, record.id, max(longest, target), context)
        if overlong == "reject":
            return self._reject("longer than the context")
        cut = [_cut_left(row, longest - context, self.tokenizer.bos_id) for row in unit]
        fitting = [row for row in cut if row is not None]
        if target > context or len(fitting) < len(unit):
            return self._reject("the response alone is longer than the context")
        self.truncated += 1
        return fitting

    def _reject(self, reason: str) -> Unit | None:
        self.reasons[reason] += 1
        return None


def _blocks(docs: Iterable[Document], characters: int = 2_000_000) -> Iterator[list[Document]]:
    """Runs of documents of about so many characters: encoding takes some fifty times their size in memory."""
    block: list[Document] = []
    size = 0
    for doc in docs:
        block.append(doc)
        size += len(doc.text)
        if size >= characters:
            yield block
            block, size = [], 0
    if block:
        yield block


def _row(rendered: Rendered, columns: Mapping[str, Column], record: AnyRecord, source: Ints | None = None) -> Row:
    trained = np.array(rendered.trained, dtype=np.bool_)
    trained[:1] = False  # nothing precedes the first token that could predict it
    return Row(np.array(rendered.ids, dtype=np.int32), trained, columns, record, source)


def _cut_left(row: Row, excess: int, bos: int | None) -> Row | None:
    """The row without `excess` prompt tokens at its left, bos kept; None if nothing of the prompt would be left."""
    ids = row.tokens if row.source is None else row.source
    keep = 1 if len(ids) and ids[0] == bos else 0
    if row.source is not None:
        source = ids if excess <= 0 else np.concatenate([ids[:keep], ids[keep + excess :]])
        return Row(row.tokens, row.trained, row.columns, row.record, source)
    first_trained = int(row.trained.argmax())
    if first_trained - excess < keep + 1:
        return None
    tokens = np.concatenate([ids[:keep], ids[keep + excess :]])
    trained = np.concatenate([row.trained[:keep], row.trained[keep + excess :]])
    return Row(tokens, trained, row.columns, row.record)


def _rollout_row(rollout: Rollout, decoder_start: int | None) -> Row:
    where = f"prompt {rollout.prompt.id}"
    if rollout.finish == "failed":
        raise RolloutError(
            f"a failed rollout cannot be trained on: {rollout.failure}",
            where=where,
            mend="filter and count failed ones",
        )
    num = len(rollout.response_ids)
    own = np.array(rollout.own if rollout.own is not None else [True] * num, dtype=np.bool_)
    before = list(rollout.prompt_ids) if decoder_start is None else [decoder_start]
    if not own.any() or not before:
        raise EmptyMaskError("a rollout without a token to train", where=where, mend="leave it out and count it")

    def behind_prompt(values: Sequence[float]) -> NDArray[np.float32]:
        assert len(values) == num, (len(values), num)
        return np.array([0.0] * len(before) + list(values), dtype=np.float32)

    columns: dict[str, Column] = {
        "sampling.logprobs": behind_prompt(rollout.logprobs),
        "finished": float(rollout.finish == "stop"),
    }
    if rollout.token_rewards is not None:
        columns["token_rewards"] = behind_prompt(rollout.token_rewards)
    return Row(
        np.array([*before, *rollout.response_ids], dtype=np.int32),
        np.concatenate([np.zeros(len(before), dtype=np.bool_), own]),
        columns,
        rollout,
        None if decoder_start is None else np.array(rollout.prompt_ids, dtype=np.int32),
    )


def _column(values: Sequence[Column], width: int) -> torch.Tensor:
    if isinstance(values[0], np.ndarray):
        return pad([torch.as_tensor(v) for v in values], dtype=torch.float32, width=width)
    return torch.tensor(values, dtype=torch.float32)


def _grouped(units: Sequence[Unit], records: Sequence[AnyRecord]) -> list[Unit]:
    """Comparisons of one prompt joined, in order of first appearance; each pair's rows stay neighbours."""
    joined: dict[Any, Unit] = {}
    for i, (unit, record) in enumerate(zip(units, records, strict=True)):
        prompt: Messages | None = record.prompt if isinstance(record, Comparison) else None
        joined.setdefault(prompt or i, []).extend(unit)
    return list(joined.values())


def _refuse_if_error(overlong: Overlong, record_id: str, length: int, limit: int) -> None:
    if overlong == "error":
        raise DataError(
            f"the record has {length} tokens and the limit is {limit}",
            where=f"record {record_id}",
            mend="shorten it, raise the context, or set overlong to reject or truncate_left_prompt",
        )
