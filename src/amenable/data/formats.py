"""Files → raw rows: JSONL, JSON, CSV, TSV, Parquet, plain text, their .gz and .zst, and saved Hugging Face datasets.

A row is a plain dict (or, in text files, a string) with its place. Every stream is read within stated limits, so that no
file, however hostile, takes more memory than they say; what breaks a limit becomes a reject and the reading goes on.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple

import msgspec
from msgspec import Meta

from amenable.data.arrow import values_of
from amenable.data.packed import opened
from amenable.data.rejects import START_LENGTH, Rejects, Where
from amenable.errors import DataError, MissingExtraError
from amenable.splitting import side_named
from amenable.types import Record, Split

TEXT_SUFFIXES = (".txt", ".text", ".md", ".markdown")
ROW_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
EMPTY = "the file is empty"
PACKED_SUFFIXES = (".gz", ".zst")
_ROW_LISTS = ("data", "rows", "examples", "Instances")
_BESIDE_ROWS = {"Instances": {"Positive Examples", "Negative Examples"}}
"""Lists that a layout has beside its rows: those of a Super-NaturalInstructions task, which its reader asks for by name."""
_STRUCTURES = frozenset((
    "responses", "ranking", "ranks", "tiers", "references", "history", "meta",  # judged.py, layouts.py, our own records
    "mapping", "chat", "preference", "feedback", "fields", "data", "annotations",  # exports.py, labelling_tools.py
    "words", "tokens", "tags", "ner_tags", "labels", "answers", "options",  # examples.py, tasks.py
))  # fmt: skip
"""Columns that some reader takes as a list or an object; in CSV they are written as JSON."""


_AS_PYTHON = re.compile(r"\[\s*\{\s*'(role|content|from|value)':")
"""How a conversation begins that pandas wrote to CSV as it is, with quotes that are not JSON's."""


_TALKS = ("messages", "conversations", "conversation", "prompt", "chosen", "rejected")
"""Columns that may hold a conversation as text."""


class Limits(Record, frozen=True):
    """How much of a file may be held in memory at a time."""

    line_bytes: Annotated[int, Meta(ge=1, description="one line, one CSV row, one piece of text")] = 16 << 20
    json_bytes: Annotated[int, Meta(ge=1, description="one .json file, which is read whole")] = 1 << 30


class Row(NamedTuple):
    """A raw row: an object's fields, or the text of a line or document."""

    where: Where
    value: dict[str, Any] | str
    split: Split | None = None


def suffix_of(path: Path) -> str:
    """The suffix that tells the format, without .gz or .zst, in lower case.

    >>> suffix_of(Path("a/train.JSONL.gz"))
    '.jsonl'
    """
    name = path.name.lower()
    for packed in PACKED_SUFFIXES:
        name = name.removesuffix(packed)
    return Path(name).suffix


def rows(
    file: Path, rejects: Rejects, *, limits: Limits, lines_of_text: bool = False, structures: Collection[str] = ()
) -> Iterator[Row]:
    """The rows of one file; bad ones go to `rejects`.

    lines_of_text: a text file gives one row a line instead of one a file. structures: further columns that hold lists or
    objects, which CSV has as JSON.
    Raises DataError if the file as a whole cannot be read: cut short, not of its format, of an unknown type.
    """
    return _unfolded(_rows_as_written(file, rejects, limits, lines_of_text, structures), rejects)


def _rows_as_written(
    file: Path, rejects: Rejects, limits: Limits, lines_of_text: bool, structures: Collection[str]
) -> Iterator[Row]:
    suffix = suffix_of(file)
    if suffix == ".parquet":
        yield from _parquet(file, rejects)
        return
    with opened(file) as stream:
        _refuse_other_encodings(stream, file)
        if suffix in (".jsonl", ".ndjson") and not stream.peek(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(
            b"["
        ):
            yield from _jsonl(stream, file, rejects, limits)
        elif suffix in (".json", ".jsonl", ".ndjson"):  # one list of rows, whatever its name
            yield from _json(stream, file, rejects, limits)
        elif suffix in (".csv", ".tsv"):
            yield from _csv(stream, file, rejects, limits, _STRUCTURES.union(structures))
        elif lines_of_text:
            yield from _text_lines(stream, file, rejects, limits)
        else:
            yield from _text(stream, file, rejects, limits)


def _refuse_other_encodings(stream: io.BufferedReader, file: Path) -> None:
    start = stream.peek(40)[:40]
    _refuse_pointer(start, file)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") or start[:2].count(b"\0") == 1:
        raise DataError("the file is UTF-16, not UTF-8", where=str(file), mend=f"iconv -f UTF-16 -t UTF-8 {file.name}")
    if not start:
        raise DataError(EMPTY, where=str(file), mend="give a file with at least one row")


def _refuse_pointer(start: bytes, file: Path) -> None:
    if start.startswith(b"version https://git-lfs"):
        mend = f"git lfs pull --include={file.name}"
        raise DataError(
            "the file is what Git LFS puts in a file's place, without its content", where=str(file), mend=mend
        )


def _lines(stream: BinaryIO, file: Path, rejects: Rejects, limits: Limits) -> Iterator[tuple[int, int, bytes]]:
    """(number from 1, byte offset, line without its end) of every line; one over the limit is rejected, not held."""
    number, offset = 0, 0
    while line := stream.readline(limits.line_bytes + 1):
        number += 1
        length, whole = len(line), line.endswith(b"\n") or len(line) <= limits.line_bytes
        while not whole:
            more = stream.readline(1 << 20)
            length, whole = length + len(more), not more or more.endswith(b"\n")
        if length > limits.line_bytes + 1 or (length > limits.line_bytes and not line.endswith(b"\n")):
            reason = f"the line is longer than {limits.line_bytes:,} bytes ({length:,})"
            rejects.add(Where(str(file), number), reason, line[:1000])
        else:
            yield (
                number,
                offset,
                line.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n") if number == 1 else line.rstrip(b"\r\n"),
            )
        offset += length


def _jsonl(stream: BinaryIO, file: Path, rejects: Rejects, limits: Limits) -> Iterator[Row]:
    for number, offset, line in _lines(stream, file, rejects, limits):
        if not line.strip():
            continue
        where = Where(str(file), number)
        value = decode_json(line)
        if isinstance(value, dict | str):
            yield Row(where, value)
        elif isinstance(value, _Malformed):
            at = f" (byte {offset + value.at:,} of the file)" if value.at is not None else ""
            rejects.add(where, value.reason + at, line[:1000])
        else:
            rejects.add(where, f"a row must be an object, not {_type_name(value)}", line[:1000])


class _Malformed(NamedTuple):
    reason: str
    at: int | None = None  # byte


def decode_json(line: bytes) -> Any:
    """The value, or why there is none: never an exception, however the bytes look."""
    try:
        return msgspec.json.decode(line)
    except RecursionError:
        return _Malformed("the JSON is nested too deep")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # whose positions count from the start of a text
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as bad:
            return _Malformed("not UTF-8", bad.start)
        if b"NaN" in line or b"Infinity" in line:
            return _Malformed("NaN and Infinity are no JSON and no number to learn from")
        return _Malformed(f"not JSON ({error})")


def _type_name(value: Any) -> str:
    names = {
        list: "a list",
        int: "a number",
        float: "a number",
        bool: "true or false",
        type(None): "null",
        str: "a text",
    }
    return names.get(type(value), type(value).__name__)


def _json(stream: io.BufferedReader, file: Path, rejects: Rejects, limits: Limits) -> Iterator[Row]:
    content = stream.read(limits.json_bytes + 1).removeprefix(b"\xef\xbb\xbf")
    if len(content) > limits.json_bytes:
        mend = "write it as JSONL, one row a line: that is read in pieces"
        raise DataError(
            f"a .json file is read whole, and this one is over {limits.json_bytes:,} bytes", where=str(file), mend=mend
        )
    value = decode_json(content)
    if isinstance(value, _Malformed):
        first = content.lstrip().split(b"\n", 1)[0]
        if isinstance(decode_json(first), dict | list):  # one object a line: JSONL under another name
            yield from _jsonl(io.BytesIO(content), file, rejects, limits)
            return
        raise DataError(f"the file cannot be read: {value.reason}", where=str(file))
    if not isinstance(value, dict | list):
        raise DataError(f"a .json file must hold a list of rows or an object, not {_type_name(value)}", where=str(file))
    parts = _parts(value, file) if isinstance(value, dict) else {"": value}
    told = value.get("Definition") if isinstance(value, dict) and "Instances" in parts else None
    about = {"definition": told} if told else {}  # of all instances of a Super-NaturalInstructions task
    number = 0
    for name, part in parts.items():
        for item in part:
            number += 1
            if isinstance(item, dict | str):
                fields = {**about, **item} if isinstance(item, dict) else item
                yield Row(Where(str(file), number), fields, side_named(name))
            else:
                place = Where(str(file), number)
                rejects.add(place, f"a row must be an object, not {_type_name(item)}", repr(item)[:1000])


def _parts(value: dict[str, Any], file: Path) -> dict[str, list[Any]]:
    """The rows in an object, by the name of their part: its list of rows, its splits, its columns, or the object itself."""
    lists = {k: v for k, v in value.items() if isinstance(v, list) and _holds_rows(k, v) and v != [""] * len(v)}
    if len(lists) == 1 or (lists and all(map(side_named, lists))):
        known = set(lists).union(*(_BESIDE_ROWS.get(name, ()) for name in lists))
        others = [
            k
            for k, v in value.items()
            if k not in known and isinstance(v, list) and any(isinstance(x, dict) for x in v)
        ]
        if others:
            names = ", ".join([*lists, *others])
            raise DataError(
                f"the object holds several lists of rows: {names}", where=str(file), mend="give each a file of its own"
            )
        return lists
    return {"": _table_rows(value) or [value]}


def _holds_rows(name: str, items: list[Any]) -> bool:
    """Whether a list in an object is rows by its name. "test" may hold texts; "test_list" does only with objects in it."""
    if name in _ROW_LISTS:
        return True
    return side_named(name) is not None and (name.isalpha() or all(isinstance(item, dict) for item in items))


def _table_rows(table: dict[str, Any]) -> list[Any] | None:
    """The rows of a table written column by column: {"text": {"0": ..., "1": ...}}, as pandas does, or {"text": [...]}."""
    columns = list(table.values())
    if len(columns) < 2 or not columns[0]:
        return None
    if all(isinstance(c, dict) and c.keys() == columns[0].keys() for c in columns):
        keys = list(columns[0])
        numbered = all(str(key).isdigit() for key in keys)
        return [{name: column[key] for name, column in table.items()} for key in keys] if numbered else None
    if all(isinstance(c, list) and len(c) == len(columns[0]) for c in columns):
        plain = not any(isinstance(item, dict | list) for column in columns for item in column)
        return [dict(zip(table, row, strict=True)) for row in zip(*columns, strict=True)] if plain else None
    return None


class _Line(NamedTuple):
    number: int
    start: str
    bad: int | None  # byte of the file that is not UTF-8


def _csv(
    stream: io.BufferedReader, file: Path, rejects: Rejects, limits: Limits, structures: Collection[str]
) -> Iterator[Row]:
    """Rows of a file with quotes as RFC 4180 has them. A stray quote takes the lines up to the next one for its own: all of
    them are rejects, each counted.
    """
    taken: list[_Line] = []  # by the row that is being read

    def text_lines() -> Iterator[str]:
        for number, offset, line in _lines(stream, file, rejects, limits):
            bad = None
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                bad, text = offset + error.start, line.decode("utf-8", "surrogateescape")
            taken.append(_Line(number, text[:START_LENGTH], bad))
            yield text + "\n"

    first_line = stream.peek(1 << 16).split(b"\n", 1)[0]
    marks = ("\t",) if suffix_of(file) == ".tsv" else (",", ";", "\t")
    delimiter = next((mark for mark in marks if mark.encode() in first_line), marks[0])
    csv.field_size_limit(max(csv.field_size_limit(), limits.line_bytes))
    reader = csv.reader(text_lines(), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise DataError(
            f"the first line is not CSV ({error})",
            where=str(file),
            mend="end lines by LF or CRLF, close each quote, and double those within quotes",
        ) from error
    if bad := next((line for line in taken if line.bad is not None), None):
        raise DataError(
            f"the names of the columns are not UTF-8 (byte {bad.bad:,} of the file)",
            where=str(Where(str(file), bad.number)),
            mend=f"iconv -f WINDOWS-1252 -t UTF-8 {file.name} (or from whatever encoding it was written in)",
        )
    if not any(header) or len(set(header)) != len(header):
        raise DataError(f"the first line must name the columns, each once: {header}", where=str(file))
    while True:
        taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            for line in taken:
                rejects.add(Where(str(file), line.number), _csv_problem(error, taken[0].number), line.start)
            continue
        if not cells:
            continue
        where, wrong = Where(str(file), taken[0].number), [line.bad for line in taken if line.bad is not None]
        if wrong:
            rejects.add(where, f"not UTF-8 (byte {wrong[0]:,} of the file)", delimiter.join(cells))
        elif len(cells) != len(header):
            rejects.add(where, f"the row has {len(cells)} fields, the header {len(header)}", delimiter.join(cells))
        elif any("\0" in cell for cell in cells):
            rejects.add(where, "the row holds NUL characters", delimiter.join(cells))
        else:
            yield Row(where, {name: _cell(cell, name, structures) for name, cell in zip(header, cells, strict=True)})


def _csv_problem(error: csv.Error, first: int) -> str:
    if "expected after" in str(error) or "unexpected end" in str(error):
        return f"a quote is not closed, or not doubled inside a quoted field (opened in line {first})"
    return f"not CSV ({error}; in the row that begins in line {first})"


def _cell(cell: str, name: str, structures: Collection[str]) -> Any:
    """A conversation, or a JSON list or object in one of the columns `structures`; every other cell is text as it stands."""
    if cell[:1] + cell[-1:] not in ("[]", "{}"):
        return cell
    value = decode_json(cell.encode("utf-8"))
    if isinstance(value, _Malformed):
        return cell
    return value if name in structures or _is_conversation(value) or (name == "prompt" and value == []) else cell


def _unfolded(found: Iterable[Row], rejects: Rejects) -> Iterator[Row]:
    """The rows, with conversations that are written as JSON within a text taken out of it; none is learned as a text."""
    for row in found:
        cells = row.value if isinstance(row.value, dict) else {}
        folded = {name: cells[name] for name in _TALKS if isinstance(cells.get(name), str) and cells[name][:1] == "["}
        if any(_AS_PYTHON.match(cell) for cell in folded.values()):
            reason = "a conversation is written as Python prints it, and not as JSON (json.dumps)"
            rejects.add(row.where, reason, next(iter(folded.values())))
        elif folded:
            yield row._replace(value={**cells, **{name: _cell(cell, name, ()) for name, cell in folded.items()}})
        else:
            yield row


def _is_conversation(value: Any) -> bool:
    keys = ({"role", "content"}, {"from", "value"})
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, Mapping) and any(turn.keys() >= pair for pair in keys) for turn in value)
    )


def _parquet(file: Path, rejects: Rejects) -> Iterator[Row]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", extra="parquet", purpose="reading Parquet files") from error
    if not file.stat().st_size:
        raise DataError(EMPTY, where=str(file), mend="give a file with at least one row")
    with opened(file) as stream:
        _refuse_pointer(stream.peek(40)[:40], file)
    try:
        with parquet.ParquetFile(file) as table:
            values = chain.from_iterable(map(values_of, table.iter_batches(batch_size=1024)))
            yield from _rows_of(values, str(file), rejects)
    except (arrow.ArrowException, OSError) as error:
        mend = "fetch or write the file again"
        raise DataError(f"the Parquet file is cut short or damaged: {error}", where=str(file), mend=mend) from error


def _rows_of(
    values: Iterable[dict[str, Any] | str], place: str, rejects: Rejects, split: Split | None = None
) -> Iterator[Row]:
    for number, value in enumerate(values, 1):
        if isinstance(value, dict):
            yield Row(Where(place, number), value, split)
        else:
            rejects.add(Where(place, number), value)


def _text_lines(stream: io.BufferedReader, file: Path, rejects: Rejects, limits: Limits) -> Iterator[Row]:
    for number, offset, line in _lines(stream, file, rejects, limits):
        where = Where(str(file), number)
        try:
            if line.strip():
                yield Row(where, line.decode("utf-8"))
        except UnicodeDecodeError as error:
            rejects.add(where, f"not UTF-8 (byte {offset + error.start:,} of the file)", line[:1000])


def _text(stream: io.BufferedReader, file: Path, rejects: Rejects, limits: Limits) -> Iterator[Row]:
    """The whole file as one text; a file over the limit in pieces cut at empty lines, so that nothing is lost."""
    held, line, offset = b"", 1, 0
    while True:
        held += stream.read(limits.line_bytes + 1 - len(held))
        if not held:
            return
        cut = len(held) if len(held) <= limits.line_bytes else _cut(held, limits.line_bytes)
        piece, held = held[:cut], held[cut:]
        try:
            content = piece.removeprefix(b"\xef\xbb\xbf").decode("utf-8").replace("\r\n", "\n")
            yield Row(Where(str(file), line), content)
        except UnicodeDecodeError as error:
            place = Where(str(file), line + piece[: error.start].count(b"\n"))
            rejects.add(
                place, f"not UTF-8 (byte {offset + error.start:,} of the file)", piece[error.start : error.start + 50]
            )
        line, offset = line + piece.count(b"\n"), offset + len(piece)


def _cut(text: bytes, limit: int) -> int:
    """Where to cut: behind the last empty line within the limit, else the last line, else before a whole character."""
    for mark in (b"\n\n", b"\n"):
        if (found := text.rfind(mark, 0, limit)) > 0:
            return found + len(mark)
    while limit > 1 and text[limit] & 0xC0 == 0x80:
        limit -= 1
    return limit


def is_saved_dataset(folder: Path) -> bool:
    """Whether `datasets.Dataset.save_to_disk` (or DatasetDict's) made the folder."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    )


def saved_dataset_rows(folder: Path, rejects: Rejects) -> Iterator[Row]:
    """The rows of a saved Hugging Face dataset; a split's name, if it is one of ours, goes with its rows."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", extra="datasets", purpose="reading a saved Hugging Face dataset") from error
    try:
        loaded = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"the saved dataset cannot be read: {error}", where=str(folder)) from error
    parts = loaded.items() if isinstance(loaded, datasets.DatasetDict) else [("", loaded)]
    for name, part in parts:
        values = chain.from_iterable(map(values_of, part.with_format("arrow").iter(batch_size=1024)))
        place = f"{folder}/{name}" if name else str(folder)
        yield from _unfolded(_rows_of(values, place, rejects, side_named(name)), rejects)
