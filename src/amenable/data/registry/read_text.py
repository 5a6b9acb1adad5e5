"""Readers of the public sets of running text and of labelled text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from amenable.data.formats import Limits, rows
from amenable.data.registry.read_preferences import Found, each_row, files, split_in_name
from amenable.data.rejects import Rejects, Where
from amenable.types import Demonstration, Document, Label, assistant, user


def _texts(paths: list[Path], rejects: Rejects) -> Iterator[tuple[Path, str]]:
    for path in paths:
        for row in rows(path, rejects, limits=Limits()):
            yield path, str(row.value)


def books(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """One document a book: the title lines and the rule under them go, so do heading marks and marks of emphasis."""
    for path, content in _texts([f for f in files(folder, "*.md") if f.stem != "SOURCE"], rejects):
        yield Where(str(path), 1), Document(id=path.stem, text=plain(content))


def plain(markdown: str) -> str:
    """A book's text without markup.

    >>> plain("# Title: T\\n\\n## Author: A\\n\\n## Year: 1900\\n\\n-------\\n\\n## ONE\\n\\nIt was _so_ **very** cold.\\n\\n\\n* * *\\n\\nHe--")
    'ONE\\n\\nIt was so very cold.\\n\\nHe--'
    """
    text = re.sub(r"\A(?:\s*#+ *(?:Title|Author|Year):[^\n]*\n)+\s*(?:-{3,}\s*\n)?", "", markdown)
    text = re.sub(r"^[ \t]*(?:-{3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})[ \t]*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"^[ \t]*#{1,6}[ \t]*|^[ \t]*>[ \t]?", "", text, flags=re.MULTILINE)
    text = re.sub(r"(?<!\w)(\*{1,3}|_{1,3})(?=\S)(.+?)(?<=\S)\1(?!\w)", r"\2", text, flags=re.DOTALL)
    text = re.sub(r"!?\[([^\]\n]*)\]\([^)\n]*\)", r"\1", text)
    text = re.sub(r"\\([\\`*_{}\[\]()#+\-.!])", r"\1", text)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)).strip()


def sentence_polarity(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Sentences of film reviews, one a line; the file tells whether the reviewer liked the film.

    Parts a and b are two halves by a hash of the sentence: one to learn a reward from, one for the judge of its use.
    """
    for path in files(folder, "rt-polarity.pos", "rt-polarity.neg"):
        positive = path.suffix == ".pos"
        for row in each_row([path], rejects):
            said, name = str(row.value).strip(), f"{path.suffix[1:]}-{row.where.line}"
            if part is not None and part != "ab"[hashlib.blake2b(said.encode(), digest_size=1).digest()[0] % 2]:
                continue
            if kind == "documents":
                yield row.where, Document(id=name, text=said)
            else:
                yield row.where, Label(id=name, prompt=(), response=said, label=positive, name="positive")


def movie_reviews(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Film reviews, one a file; the folder tells whether the reviewer liked the film."""
    for path, content in _texts(files(folder, "pos/*.txt", "neg/*.txt"), rejects):
        said = re.sub(r"\s*\n\s*", "\n", content).strip()
        if kind == "documents":
            yield Where(str(path), 1), Document(id=path.stem, text=said)
        else:
            label = path.parent.name == "pos"
            yield Where(str(path), 1), Label(id=path.stem, prompt=(), response=said, label=label, name="positive")


def wikitext2(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Wikipedia articles in the tokenised form of the benchmark, cut at their titles (" = Title = ")."""
    for path, content in _texts(files(folder, "valid.txt", "test.txt", "train.txt"), rejects):
        starts = [m.start() for m in re.finditer(r"^ = [^=\n].*[^=\n] = *$", content, flags=re.MULTILINE)]
        for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(content)], strict=True), 1):
            line = content.count("\n", 0, start) + 1
            article = Document(
                id=f"{path.stem}-{number}", text=content[start:end].strip(), split=split_in_name(path.stem)
            )
            yield Where(str(path), line), article


PIECE_CHARACTERS = 8000


def tinyshakespeare(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Speeches from Shakespeare's plays in one file, cut between speeches into pieces of about 8,000 characters."""
    for path, content in _texts(files(folder, "input.txt"), rejects):
        place = 0

        def piece(speech: str) -> int:
            nonlocal place
            place += len(speech) + 2
            return place // PIECE_CHARACTERS

        line = 1
        for number, group in groupby(content.strip().split("\n\n"), key=piece):
            said = "\n\n".join(group)
            yield Where(str(path), line), Document(id=f"shakespeare-{number}", text=said)
            line += said.count("\n") + 2


_LEVELS = {"ele": "elementary", "int": "intermediate", "adv": "advanced"}


def onestop_english(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """News articles at three reading levels; as demonstrations, the advanced text rewritten as the elementary one."""
    articles: dict[str, dict[str, tuple[Path, str]]] = {}
    for path, content in _texts(files(folder, "**/*-ele.txt", "**/*-int.txt", "**/*-adv.txt"), rejects):
        name, _, level = path.stem.rpartition("-")
        said = re.sub(r"\A\s*(?:Elementary|Intermediate|Advanced)\s*\n", "", content.lstrip("﻿"), flags=re.IGNORECASE)
        said = re.sub(r"[ \t]*\n\s*", "\n\n", said).strip()
        if kind == "documents":
            if part in (None, _LEVELS[level]):
                yield Where(str(path), 1), Document(id=path.stem, text=said)
        else:
            articles.setdefault(name, {})[level] = (path, said)
    for name, levels in articles.items():
        if {"ele", "adv"} <= levels.keys():
            path, hard = levels["adv"]
            messages = (user(f"Rewrite this article in simple English.\n\n{hard}"), assistant(levels["ele"][1]))
            yield Where(str(path), 1), Demonstration(id=name, messages=messages, task="simplify", author="person")
        else:
            rejects.add(Where(str(next(iter(levels.values()))[0]), 1), "the article is not there at both levels")
