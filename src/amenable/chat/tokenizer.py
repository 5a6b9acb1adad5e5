"""The tokenizer: text to ids and back, for our own byte-level BPE and for any Hugging Face folder.

`encode` never makes a control token out of text (guard.py says how); control tokens come from a chat template or by id.
Byte-level BPE: Radford et al. 2019, section 2.2; ours also splits digits, so that numbers are spelt alike everywhere
(llama.cpp calls this pre-tokenizer "smollm"). `<|end|>` ends a document and a turn; padding has a token of its own.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from amenable.chat.folder import read_tokenizer_files
from amenable.chat.guard import Guard, written_with
from amenable.errors import ConfigError

SPECIALS = ("<|pad|>", "<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
UNKNOWN = "<|unknown|>"
SMALLEST_VOCAB = 256 + len(SPECIALS)
LARGEST_VOCAB = 1_000_000  # several times the largest in use; its room is taken before there is anything to put there
LONGEST_WORD = 1000  # characters that training looks at in one piece: its time grows with the square
LONG_WORD = re.compile("|".join(f"(?<!{sign}){sign}{{{LONGEST_WORD},}}" for sign in (r"[^\W\d_]", r"[^\w\s]", r"\s")))


class Tokenizer:
    """Text to ids and back.

    inner          the `tokenizers.Tokenizer` that does the work
    specials       {"bos_token": "<|bos|>", "eos_token": ..., "pad_token": ...}; those that exist
    chat_template  Jinja source, or None for a base model
    stop_ids       ids that end a response; eos first
    decoder_start  id that an encoder-decoder's decoder begins with, or None: the padding id
    config         further content of tokenizer_config.json, written back by `save`

    >>> t = train_bpe(["the cat sat on the mat. " * 20], vocab_size=270)
    >>> t.vocab_size, t.pad_id, t.bos_id, t.eos_id
    (270, 0, 1, 2)
    >>> t.decode(t.encode("the cat <|end|>"))
    'the cat <|end|>'
    """

    def __init__(
        self,
        inner: tokenizers.Tokenizer,
        specials: Mapping[str, str],
        *,
        chat_template: str | None = None,
        stop_ids: Sequence[int] = (),
        decoder_start: int | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.inner = inner
        self.specials = dict(specials)
        self.chat_template = chat_template
        self.bos_id = self._id("bos_token")
        self.eos_id = self._id("eos_token")
        self.pad_id = self._id("pad_token")
        self.mask_id = self._id("mask_token")
        own = () if self.eos_id is None else (self.eos_id,)
        self.stop_ids: tuple[int, ...] = tuple(dict.fromkeys((*own, *stop_ids)))
        self.decoder_start = self.pad_id if decoder_start is None else decoder_start
        self._config = dict(config or {})

    @staticmethod
    def load(folder: str | Path) -> Tokenizer:
        """The tokenizer of a Hugging Face folder. Raises ModelError if there is none."""
        files = read_tokenizer_files(Path(folder))
        return Tokenizer(
            files.inner,
            files.specials,
            chat_template=files.chat_template,
            stop_ids=files.stop_ids,
            decoder_start=files.decoder_start,
            config=files.config,
        )

    def save(self, folder: str | Path) -> None:
        """Writes the files that `load` and transformers' AutoTokenizer read; makes the folder if need be.

        Stop ids beyond eos go into generation_config.json, whose other content is kept.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "tokenizer.json", self.inner.to_str(pretty=True))
        _write(folder / "special_tokens_map.json", _to_json(self.specials))
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        config |= {k: v for k, v in self._config.items() if k not in ("chat_template", "added_tokens_decoder")}
        _write(folder / "tokenizer_config.json", _to_json({**config, **self.specials}))
        if self.chat_template is not None:
            _write(folder / "chat_template.jinja", self.chat_template)
        if self.stop_ids != (() if self.eos_id is None else (self.eos_id,)):
            path = folder / "generation_config.json"
            generation = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            _write(path, _to_json({**generation, "eos_token_id": list(self.stop_ids)}))

    def encode(self, text: str) -> list[int]:
        """Ids of plain text: no specials added, and none made from text that spells one."""
        return self.guard.encode(text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of many texts at once; several times as fast."""
        return self.guard.encode_batch(texts)

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """`encode`, and from which to which character of the text each id stands; a space may belong to what follows it."""
        return self.guard.encode_with_offsets(text)

    def encode_after(self, prefix: str, text: str) -> list[int]:
        """Ids of `text` as a continuation of raw text `prefix`, whose own ids stay as `encode` gives them."""
        if not prefix:
            return self.encode(text)
        before, whole = self.encode(prefix), self.encode(prefix + text)
        if whole[: len(before)] == before:
            return whole[len(before) :]
        # Behind a control token, so that no space is put before what may be the rest of a word.
        return self.guard.encode_rendered(self.anchor + self.guard.plain(text))[1 if self.anchor else 0 :]

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of ids; bytes that are not whole UTF-8 characters become U+FFFD."""
        if skip_special:
            ids = [i for i in ids if i not in self.special_ids]
        return self.inner.decode(list(ids), skip_special_tokens=False)

    def stream(self, skip_special: bool = True) -> DecodeStream:
        """An incremental decoder of one response."""
        return DecodeStream(self, skip_special)

    def with_changes(
        self,
        *,
        chat_template: str | None = None,
        specials: Mapping[str, str] | None = None,
        stop_ids: Sequence[int] = (),
    ) -> Tokenizer:
        """A copy with another chat template, further named specials or further stop ids."""
        return Tokenizer(
            self.inner,
            {**self.specials, **(specials or {})},
            chat_template=self.chat_template if chat_template is None else chat_template,
            stop_ids=(*self.stop_ids, *stop_ids),
            decoder_start=self.decoder_start,
            config=self._config,
        )

    def with_added(self, specials: Mapping[str, str], tokens: Sequence[str] = ()) -> Tokenizer:
        """A copy without chat template that knows further control tokens, named ones and others.

        >>> t = train_bpe(["abc"], 262).with_added({"mask_token": "<|mask|>"})
        >>> t.mask_id, t.vocab_size, len(t.encode("<|mask|>")) > 1
        (262, 263, True)
        """
        inner = tokenizers.Tokenizer.from_str(self.inner.to_str())
        inner.add_special_tokens([*specials.values(), *tokens])
        return Tokenizer(
            inner,
            {**self.specials, **specials},
            stop_ids=self.stop_ids,
            decoder_start=self.decoder_start,
            config={k: v for k, v in self._config.items() if k != "chat_template"},
        )

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return max(self.inner.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def start_ids(self) -> list[int]:
        """What raw text begins with: bos; eos where there is no bos (GPT-2's custom)."""
        first = self.eos_id if self.bos_id is None else self.bos_id
        return [] if first is None else [first]

    @cached_property
    def frame(self) -> tuple[list[int], list[int]]:
        """What stands before and after a text that an encoder reads: cls and sep; bos and eos where there are none."""
        first, last = (self._id("cls_token"), self.bos_id), (self._id("sep_token"), self.eos_id)
        return [i for i in first if i is not None][:1], [i for i in last if i is not None][:1]

    @cached_property
    def source_frame(self) -> tuple[list[int], list[int]]:
        """What stands before and after a text that an encoder-decoder reads: what the tokenizer's post-processor puts there.

        BART's is <s> and </s>, NLLB's begins with a language; where it puts nothing behind the text, that is eos.
        """
        probe = self.inner.encode("a", add_special_tokens=True)
        text = [i for i, added in enumerate(probe.special_tokens_mask) if not added]
        before, after = (probe.ids[: text[0]], probe.ids[text[-1] + 1 :]) if text else ([], [])
        return before, after or ([] if self.eos_id is None else [self.eos_id])

    @cached_property
    def sentinel_ids(self) -> tuple[int, ...]:
        """Ids of <extra_id_0>, <extra_id_1> and so on, which stand for spans cut out of a text; () without them."""
        found = (self.inner.token_to_id(f"<extra_id_{k}>") for k in itertools.count())
        return tuple(itertools.takewhile(lambda index: index is not None, found))  # type: ignore[arg-type]

    @cached_property
    def word_edges(self) -> tuple[list[bool], list[bool]]:
        """By id: whether no word goes on in this token, and whether none goes on behind it.

        >>> t = train_bpe(["a cat, a cat, a cat"] * 9, 268)
        >>> ids = t.encode("a cat,")
        >>> [(t.decode([i]), t.word_edges[0][i], t.word_edges[1][i]) for i in ids]
        [('a', False, False), (' cat', True, False), (',', True, True)]
        """
        spec = json.loads(self.inner.to_str())
        in_bytes = (spec["decoder"] or {}).get("type") == "ByteLevel"
        prefix = spec["model"].get("continuing_subword_prefix")  # WordPiece marks what goes on, not what begins
        opens, closes = [True] * self.vocab_size, [True] * self.vocab_size
        for piece, index in self.inner.get_vocab(with_added_tokens=True).items():
            if index in self.special_ids:
                continue
            text = self.inner.decode([index]) if in_bytes else piece
            opens[index] = not piece.startswith(prefix) if prefix else not _in_word(text[:1])
            closes[index] = not _in_word(text[-1:])
        return opens, closes

    @cached_property
    def controls(self) -> dict[str, int]:
        """{spelling: id} of the tokens that no text may spell; never a piece that text is written with (`written_with`)."""
        ids = {name: i for name in self.specials.values() if (i := self.inner.token_to_id(name)) is not None}
        for index, token in self.inner.get_added_tokens_decoder().items():
            # Some folders flag turn markers as ordinary tokens; they are known by their shape. Words such as
            # "<think>", which the assistant itself may write, stay ordinary.
            marker = re.fullmatch(r"<[|｜].+[|｜]>|\[\|.+\|\]|\[/?[A-Z_]+\]", token.content)
            if token.special or marker or index in self.stop_ids:
                ids[token.content] = index
        plain = written_with(self.inner, ids)
        return {spelling: index for spelling, index in ids.items() if spelling not in plain}

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of all control tokens."""
        return frozenset(self.controls.values())

    @cached_property
    def turn_end_ids(self) -> frozenset[int]:
        """Stop ids that are control tokens. Others, as a line end, may stop a model that writes, but texts hold them."""
        return self.special_ids & set(self.stop_ids)

    @cached_property
    def anchor(self) -> str:
        """A control token's spelling, eos if it is one, behind which text is encoded as going on; "" if there is none."""
        return next((name for name in (self.specials.get("eos_token"), *self.controls) if name in self.controls), "")

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that tell two vocabularies apart."""
        return hashlib.sha256(self.inner.to_str().encode()).hexdigest()[:16]

    @cached_property
    def turns_fingerprint(self) -> str:
        """16 hex digits that tell two ways apart in which a model reads turns and ends its own: template, vocabulary, specials."""
        about = [self.fingerprint, self.chat_template, self.specials, self.stop_ids]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def guard(self) -> Guard:
        """What encodes rendered templates; for render.py."""
        return Guard(self.inner, self.controls)

    def _id(self, name: str) -> int | None:
        return self.inner.token_to_id(self.specials[name]) if name in self.specials else None


def _in_word(character: str) -> bool:
    """Whether a character is of a word: a letter, a digit, or a byte of a longer character."""
    return character.isalnum() or character == "\ufffd"


class DecodeStream:
    """Decodes one id at a time; the pieces joined are the text of all ids.

    >>> t = train_bpe(["abc"], vocab_size=262)
    >>> s = t.stream()
    >>> [s.push(i) for i in t.encode("aé")], s.finish()
    (['a', '', 'é'], '')
    """

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = True) -> None:
        self._tokenizer, self._skip = tokenizer, skip_special
        self._context: list[int] = []  # already given out; decoders that strip a first space need to see it
        self._waiting: list[int] = []

    def push(self, token: int) -> str:
        """The text that this id completes; "" while a UTF-8 character is unfinished."""
        self._waiting.append(token)
        piece = self._new_text()
        if not piece or piece.endswith("\ufffd"):
            return ""
        self._context, self._waiting = self._waiting, []
        return piece

    def finish(self) -> str:
        """What is left at the end: unfinished bytes as U+FFFD."""
        piece = self._new_text()
        self._context, self._waiting = [], []
        return piece

    def _new_text(self) -> str:
        before = self._tokenizer.decode(self._context, self._skip)
        return self._tokenizer.decode([*self._context, *self._waiting], self._skip)[len(before) :]


def train_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE of `vocab_size` tokens at most (fewer if the text has no more pairs), with our specials and template.

    The same texts give the same tokenizer. Raises ConfigError if the bytes and specials do not fit, or a million tokens would.
    """
    if vocab_size < SMALLEST_VOCAB:
        raise ConfigError(
            f"a vocabulary of {vocab_size} cannot hold the 256 bytes and {len(SPECIALS)} specials",
            where="vocab_size",
            mend=f"ask for {SMALLEST_VOCAB} or more",
        )
    if vocab_size > LARGEST_VOCAB:
        raise ConfigError(
            f"a vocabulary of {vocab_size} is more than any text fills",
            where="vocab_size",
            mend=f"ask for {LARGEST_VOCAB} or fewer",
        )
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    inner.train_from_iterator(_batches(texts), trainer=trainer)
    specials = {"bos_token": "<|bos|>", "eos_token": "<|end|>", "pad_token": "<|pad|>"}
    return Tokenizer(inner, specials, chat_template=own_template())


def piece_tokenizer(pieces: Iterable[str]) -> Tokenizer:
    """A token for each of these pieces of text, our specials and template: for worlds of a few signs.

    The longest piece that fits is taken at each place; a character that begins none becomes <|unknown|>.

    >>> t = piece_tokenizer(["X", "O", "XO"])
    >>> t.vocab_size, t.encode("XOXX?"), t.decode(t.encode("XOX"))
    (10, [9, 7, 7, 6], 'XOX')
    """
    pieces = list(dict.fromkeys(pieces))
    vocabulary = {name: i for i, name in enumerate((*SPECIALS, UNKNOWN, *pieces))}
    inner = tokenizers.Tokenizer(models.WordLevel(vocab=vocabulary, unk_token=UNKNOWN))
    longest_first = [re.escape(piece) for piece in sorted(pieces, key=len, reverse=True)]
    whole = tokenizers.Regex("|".join([*longest_first, r"[\s\S]"]))
    inner.pre_tokenizer = pre_tokenizers.Split(whole, "isolated")
    inner.add_special_tokens([*SPECIALS, UNKNOWN])
    inner.decoder = decoders.Fuse()
    specials = {"bos_token": "<|bos|>", "eos_token": "<|end|>", "pad_token": "<|pad|>", "unk_token": UNKNOWN}
    return Tokenizer(inner, specials, chat_template=own_template())


def own_template() -> str:
    """The Jinja source of our own chat template."""
    return (resources.files("amenable.chat") / "default.jinja").read_text(encoding="utf-8").strip()


def _batches(texts: Iterable[str], size: int = 1000) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch += _in_pieces(text)
        if len(batch) >= size:
            yield batch
            batch = []
    yield batch


def _in_pieces(text: str) -> list[str]:
    """A text cut within its endless words (a line of dashes, a genome), so that none is longer than LONGEST_WORD."""
    cuts = [i for run in LONG_WORD.finditer(text) for i in range(run.start() + LONGEST_WORD, run.end(), LONGEST_WORD)]
    return [text[start:end] for start, end in itertools.pairwise([0, *cuts, len(text)])]


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _write(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8")
