"""Sources of running text made into one corpus: cleaned, cut at their titles, without doubles, some texts held out by name.

    corpus = make_corpus({"childrens-books": documents, ...}, hold_out=("Johanna_Spyri_Heidi",))
    corpus.train["childrens-books"], corpus.held_out, corpus.rows

A passage that stands twice, within a source or across sources, is kept where it comes first; what is held out comes first
of all, so that nothing of it is trained on. Likeness is measured paragraph by paragraph (data/near.py), and a passage of
about PASSAGE_WORDS words goes if more than half of its longer paragraphs stand elsewhere: a refrain or a phrase that a book
repeats stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from amenable.data.clean import CleanReport, clean, detokenised, sections
from amenable.data.near import near_pairs
from amenable.errors import DataError, nearest
from amenable.types import Document, Record, Split

PASSAGE_WORDS = 150
COMPARED_WORDS = 25
"""Shorter paragraphs are not compared: people say the same things."""
MIN_WORDS = 20
"""Sections and what is left between doubles are dropped below so many words."""


class CorpusRow(Record, frozen=True):
    """What became of one source. Bytes are UTF-8."""

    source: str
    texts: int  # as given
    texts_bytes: int
    held_out: int  # texts held out by name, or on another side than training
    documents: int  # kept for training: sections of the texts
    bytes: int
    removed: dict[str, int]  # characters taken away by the cleaning, by rule
    doubles_bytes: int  # passages that stand elsewhere
    short_bytes: int  # sections and remains of fewer than MIN_WORDS words


@dataclass
class Corpus:
    """Documents by source, those held out, and what became of the rest."""

    train: dict[str, list[Document]]
    held_out: list[Document]
    rows: list[CorpusRow]
    reports: dict[str, CleanReport]


def make_corpus(sources: Mapping[str, Sequence[Document]], *, hold_out: Sequence[str] = ()) -> Corpus:
    """All sources cleaned and without doubles. hold_out: ids of texts, which are on the validation side.

    A text with a split other than train is not trained on; like those held out by name it is compared with.
    Raises DataError for a held-out text that no source has.
    """
    known = [d.id for documents in sources.values() for d in documents]
    for name in hold_out:
        if name not in known:
            hint = nearest(name, known)
            raise DataError(
                f"there is no text {name!r} to hold out",
                where=", ".join(sources),
                mend=f"did you mean {hint}?" if hint else "hold_out takes ids of documents",
            )
    aside: list[_Section] = []
    train: dict[str, list[_Section]] = {}
    reports: dict[str, CleanReport] = {}
    for source, documents in sources.items():
        reports[source] = CleanReport()
        train[source] = []
        for document in documents:
            kept_out = _is_held_out(document, hold_out)
            cut = list(_sections(source, document, CleanReport() if kept_out else reports[source]))
            (aside if kept_out else train[source]).extend(cut)
    doubled = _doubled([*aside, *(s for found in train.values() for s in found)])
    rows, kept = [], {}
    for source, documents in sources.items():
        kept[source], doubles, short = _kept(train[source], doubled)
        given = sum(_size(d.text) for d in documents)
        out = sum(_is_held_out(d, hold_out) for d in documents)
        rows.append(
            CorpusRow(
                source=source, texts=len(documents), texts_bytes=given, held_out=out, documents=len(kept[source]),
                bytes=sum(_size(d.text) for d in kept[source]), removed=dict(reports[source].removed),
                doubles_bytes=doubles, short_bytes=short,
            )
        )  # fmt: skip
    held = [_document(s, s.paragraphs, "validation") for s in aside if s.text_id in hold_out]
    return Corpus(kept, [d for d in held if len(d.text.split()) >= MIN_WORDS], rows, reports)


def _is_held_out(document: Document, hold_out: Sequence[str]) -> bool:
    return document.id in hold_out or document.split in ("validation", "test")


@dataclass(eq=False)
class _Section:
    source: str
    text_id: str
    number: int
    paragraphs: list[str]


def _sections(source: str, document: Document, report: CleanReport) -> Iterator[_Section]:
    cleaned = clean(detokenised(document.text), report)
    for number, said in enumerate(sections(cleaned), 1):
        yield _Section(source, document.id, number, said.split("\n\n"))


def _doubled(found: Sequence[_Section]) -> dict[_Section, set[int]]:
    """By section, the numbers of its paragraphs that stand in an earlier section too, nearly or exactly."""
    places = [
        (section, n)
        for section in found
        for n, paragraph in enumerate(section.paragraphs)
        if len(paragraph.split()) >= COMPARED_WORDS
    ]
    doubled: dict[_Section, set[int]] = {}
    for i, j, _ in near_pairs([s.paragraphs[n] for s, n in places]):
        (earlier, _), (later, number) = places[i], places[j]
        if earlier is not later:
            doubled.setdefault(later, set()).add(number)
    return doubled


def _kept(found: Sequence[_Section], doubled: Mapping[_Section, set[int]]) -> tuple[list[Document], int, int]:
    """The documents that stay, bytes of doubles, bytes of what was too short."""
    documents: list[Document] = []
    dropped: Counter[str] = Counter()
    for section in found:
        twice = doubled.get(section, set())
        pieces: list[list[str]] = [[]]
        for passage in _passages(section.paragraphs):
            compared = Counter(
                {n: len(section.paragraphs[n].split()) for n in passage if len(section.paragraphs[n].split()) >= COMPARED_WORDS}
            )  # fmt: skip
            again = sum(words for n, words in compared.items() if n in twice)
            if again and again > 0.5 * compared.total():
                dropped["doubles"] += sum(_size(section.paragraphs[n]) for n in passage)
                pieces.append([])
            else:
                pieces[-1] += [section.paragraphs[n] for n in passage]
        for place, piece in enumerate(filter(None, pieces)):
            document = _document(section, piece, "train", place)
            if len(document.text.split()) < MIN_WORDS:
                dropped["short"] += _size(document.text)
            else:
                documents.append(document)
    return documents, dropped["doubles"], dropped["short"]


def _passages(paragraphs: Sequence[str]) -> Iterator[list[int]]:
    """Runs of paragraphs, by number, of about PASSAGE_WORDS words."""
    run: list[int] = []
    words = 0
    for number, paragraph in enumerate(paragraphs):
        run.append(number)
        words += len(paragraph.split())
        if words >= PASSAGE_WORDS:
            yield run
            run, words = [], 0
    if run:
        yield run


def _document(section: _Section, paragraphs: Sequence[str], split: Split, place: int = 0) -> Document:
    name = f"{section.text_id}/{section.number}" + (f".{place}" if place else "")
    return Document(id=name, text="\n\n".join(paragraphs), source=section.source, split=split)


def _size(text: str) -> int:
    return len(text.encode())
