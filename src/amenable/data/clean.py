"""Running text made fit to learn from: what is not the author's prose goes, what is spelt in rare signs becomes plain.

    cleaned = clean(text, report)     # one text
    report.removed                    # characters that went, by rule; report.examples shows what they were

The rules, in the order of their work (RULES names those that take something away; the others lose no letter):

    mended      letters that were decoded wrongly ("rÃ©gime"), quotes, dashes and accents as plain signs, odd spaces
    licence     header, footer and licence text of Project Gutenberg, credits of those who typed a book in
    markup      tags, entities, marks of emphasis, pictures and footnotes in brackets, lines that are only a rule or a table
    pages       page numbers and words cut at the end of a line
    contents    four titles or more in a row, and lines that end in dots and a number
    reflowed    the lines of a paragraph joined, those of verse kept
    foreign     paragraphs with letters of another script, or of 40 words with hardly a common English word among them
    garbled     paragraphs in which less than half of the signs are letters

A small byte-level vocabulary profits: after this nearly every sign is ASCII. Nothing goes silently: whatever is taken away
is counted by rule, and the letters of what is kept and of what was taken are those of the text that was given (an entity
stands for its sign).
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

RULES = ("licence", "markup", "pages", "contents", "foreign", "garbled")
NUM_EXAMPLES = 5
LONG = 1000
VERSE_WIDTH = 60
"""Characters: lines that are all shorter and begin with capitals are verse."""


@dataclass
class CleanReport:
    """What was taken away from one text or many: characters and pieces by rule, and the first few pieces."""

    removed: Counter[str] = field(default_factory=Counter)
    pieces: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    keep_all: bool = False  # every piece in examples, not just the first

    def take(self, rule: str, piece: str) -> str:
        """Note a piece that goes; gives "" to put in its place."""
        if piece.strip():
            self.removed[rule] += len(piece)
            self.pieces[rule] += 1
            if self.keep_all or len(self.examples[rule]) < NUM_EXAMPLES:
                self.examples[rule].append(piece.strip())
        return ""


def clean(text: str, report: CleanReport | None = None) -> str:
    """The text by all rules, paragraphs parted by one empty line. "" if nothing is left.

    >>> clean("[Illustration]\\n\\nIt was _so_ cold\\u2014\\u201cBrr!\\u201d said the won-\\nderful fox.\\n\\n12\\n\\nThe end of won\\u00adder.")
    'It was so cold--"Brr!" said the wonderful fox.\\n\\nThe end of wonder.'
    """
    report = report or CleanReport()
    text = _without_licence(plain_signs(text), report)
    text = _without_markup(text, report)
    text = _without_pages(text, report)
    paragraphs = [p.strip("\n") for p in re.split(r"\n[ \t]*\n", text) if p.strip()]
    kept = _without_contents(paragraphs, report)
    flowed = [reflowed(p) for p in kept]
    return "\n\n".join(p for p in flowed if p and not _strange(p, report))


# Signs ----------------------------------------------------------------------------------------------------------------

_PLAIN = {
    **dict.fromkeys("“”„‟«»″", '"'),
    **dict.fromkeys("‘’‚‛′`´", "'"),
    **dict.fromkeys("—―", "--"),
    **dict.fromkeys("–‒−‐‑", "-"),
    **dict.fromkeys("\u00a0\u2002\u2003\u2009\u202f\u3000\t", " "),
    **dict.fromkeys("\ufeff\u200b\u200c\u200d\u2060\u00ad\r", ""),
    **{"…": "...", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ł": "l", "ß": "ss", "ſ": "s"},
    **{"•": "-", "·": "-", "¡": "", "¿": ""},
}
_TABLE = str.maketrans(_PLAIN)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_TWICE_DECODED = re.compile("[\u00c2-\u00f4][\u0080-\u00bf]+")


def plain_signs(text: str) -> str:
    """Quotes, dashes, spaces and accents as plain signs; UTF-8 that was read as Latin-1 read rightly first.

    >>> plain_signs("the r\\u00c3\\u00a9gime \\u2014 \\u2018na\\u00efve\\u2019\\u2026")
    "the regime -- 'naive'..."
    """
    if not text.isascii():
        text = _TWICE_DECODED.sub(_decoded, text).translate(_TABLE)
        text = "".join(_folded(c) for c in text) if not text.isascii() else text
    return _CONTROL.sub("", text.replace("\t", " ").replace("\f", "\n"))


def _decoded(match: re.Match[str]) -> str:
    try:
        return match.group().encode("latin-1").decode("utf-8")
    except UnicodeError:
        return match.group()


def _folded(sign: str) -> str:
    """A Latin letter without its accents; another sign as it is; a loose accent as nothing."""
    if sign.isascii():
        return sign
    if unicodedata.combining(sign):
        return ""
    base = unicodedata.normalize("NFKD", sign)
    bare = "".join(c for c in base if not unicodedata.combining(c))
    return bare if bare.isascii() else sign


# What is not the author's ---------------------------------------------------------------------------------------------

_START = re.compile(r"\A.*?^\*{3} ?START OF TH(?:E|IS) PROJECT GUTENBERG[^\n]*\n", re.DOTALL | re.MULTILINE | re.IGNORECASE)  # fmt: skip
_END = re.compile(r"^(?:\*{3} ?END OF TH(?:E|IS) PROJECT GUTENBERG|End of (?:the )?Project Gutenberg).*\Z", re.DOTALL | re.MULTILINE | re.IGNORECASE)  # fmt: skip
_CREDIT = re.compile(
    r"Project Gutenberg|gutenberg\.org|Distributed Proofread|Transcriber'?s? Note|\bE-?text prepared by"
    r"|\Aproduced by [A-Z]|Internet Archive|All rights reserved|Creative Commons|\bISBN\b|\Acopyright\b"
    r"|https?://|\bwww\.",
    re.IGNORECASE,
)


def _without_licence(text: str, report: CleanReport) -> str:
    for pattern in (_START, _END):
        text = pattern.sub(lambda m: report.take("licence", m.group()), text)
    return "".join(_without_credit(p, report) for p in re.split(r"(\n[ \t]*\n)", text))


def _without_credit(paragraph: str, report: CleanReport) -> str:
    """A paragraph that names its makers goes; of one longer than LONG only the lines that do."""
    if not _CREDIT.search(paragraph.strip()):
        return paragraph
    if len(paragraph) <= LONG:
        return report.take("licence", paragraph)
    lines = paragraph.split("\n")
    return "\n".join(report.take("licence", line) if _CREDIT.search(line.strip()) else line for line in lines)


_TAG = re.compile(r"</?[A-Za-z][^<>\n]{0,200}>")
_TAG_OR_COMMENT = re.compile(rf"{_TAG.pattern}|<!--.*?-->", re.DOTALL)
_NOTE = re.compile(
    r"\[(?:Illustration|Footnote|Transcriber|Sidenote|Blank page|Music|Greek|Decoration|Frontispiece)[^\[\]]*\]"
    r"|(?<=[^\s\[])\[(?:\d{1,3}|[*a-z])\]",
    re.IGNORECASE,
)
_NOTE_BELOW = re.compile(r"^\[(?:\d{1,3}|\*)\].*?(?=\n[ \t]*\n|\Z)", re.DOTALL | re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:[-*_=~.#|+][ \t]*){3,}$", re.MULTILINE)
_TABLE_ROW = re.compile(r"^.*\|.*\|.*$", re.MULTILINE)
_EMPHASIS = (
    re.compile(r"(?<![\w*])(\*{1,3}|_{1,3}|=)(?=\S)([^\n*_=]+(?:\n[^\n*_=]+)*?)(?<=\S)\1(?!\w)"),
    re.compile(r"_+|\*+|(?<!\S)#{1,6}[ \t]|^>[ \t]?|\\(?=[^\w\s])", re.MULTILINE),
)


def _without_markup(text: str, report: CleanReport) -> str:
    """Marks around words go and the words stay; tags, notes, rules and rows of tables go and are counted."""
    if "&" in text:
        text = plain_signs(html.unescape(html.unescape(text)))

    def taken(match: re.Match[str]) -> str:
        return report.take("markup", match.group())

    end = (
        text.rfind("-->") + len("-->") if "-->" in text else 0
    )  # from there on no comment is closed, so none is sought
    text = _TAG_OR_COMMENT.sub(taken, text[:end]) + _TAG.sub(taken, text[end:])
    for pattern in (_NOTE, _NOTE_BELOW, _RULE, _TABLE_ROW):
        text = pattern.sub(taken, text)
    text = _EMPHASIS[0].sub(r"\2", text)
    return _EMPHASIS[1].sub("", text)


_PAGE = re.compile(r"^[ \t]*(?:[\[{(]?(?:pg?\.?|page)? ?\d{1,4}[\]})]?)[ \t]*$|[\[{](?:pg?\.?|page) ?\d{1,4}[\]}]", re.MULTILINE | re.IGNORECASE)  # fmt: skip
_CUT = re.compile(r"(?<![A-Za-z])([A-Za-z]+)-\n[ \t]*([a-z]+)")


def _without_pages(text: str, report: CleanReport) -> str:
    """Numbers of pages go; a word cut at a line's end is joined, with its hyphen where the text writes it so elsewhere."""
    text = _PAGE.sub(lambda m: report.take("pages", m.group()), text)
    if not _CUT.search(text):
        return text
    known = Counter(re.findall(r"[A-Za-z]+(?:-[A-Za-z]+)*", _CUT.sub(" ", text)))

    def joined(match: re.Match[str]) -> str:
        whole, hyphened = match.group(1) + match.group(2), f"{match.group(1)}-{match.group(2)}"
        apart = known[match.group(1)] > 0 and known[match.group(2)] > 0 and not known[whole]
        return hyphened if known[hyphened] > known[whole] or apart else whole

    return _CUT.sub(joined, text)


_DOTTED = re.compile(r"(?:(?<![ .]) *\.[ .]{3,}|(?<! ) {4,})(?:\d+|[ivxlc]+)$")
"""Tried from the first dot or space of each run alone: a run of n of them is looked at once, not n times."""


def _without_contents(paragraphs: list[str], report: CleanReport) -> list[str]:
    """Without four titles or more in a row but the last one, which may head what follows."""
    kept: list[str] = []
    run: list[str] = []
    for paragraph in [*paragraphs, ""]:
        lines = [line.strip() for line in paragraph.split("\n") if line.strip()]
        if lines and (is_title(paragraph) or sum(bool(_DOTTED.search(line)) for line in lines) > len(lines) / 2):
            run.append(paragraph)
            continue
        if len(run) >= 4:
            for title in run[:-1]:
                report.take("contents", title)
            run = [] if _DOTTED.search(run[-1]) and report.take("contents", run[-1]) == "" else run[-1:]
        kept += [*run, paragraph] if paragraph else run
        run = []
    return kept


_NUMBERED = re.compile(
    r"(?:chapter|part|book|volume|vol\.?|letter|scene|act|section|stave)\b[ .]*(?:[ivxlc]+|\d+|the [a-z]+|[a-z]+(?:[- ][a-z]+)?)?"
    r"|[ivxlc]+|\d{1,3}",
    re.IGNORECASE,
)


def is_title(paragraph: str) -> bool:
    """Whether a paragraph is a title: one short line without an end mark, its longer words with capitals.

    >>> [is_title(t) for t in ("THE GOLDEN BIRD", "Chapter IV - A Dream", "He went home.", "Return at once to", "IX")]
    [True, True, False, False, True]
    """
    line = paragraph.strip()
    words = re.findall(r"[A-Za-z][A-Za-z']*", line)
    if "\n" in line or len(line) > 80 or len(words) > 12 or not re.match(r"[A-Z0-9]", line):
        return False
    if _NUMBERED.fullmatch(line.rstrip(".:- ")):
        return True
    return not re.search(r"[.,;:!?\"'-]$", line) and bool(words) and all(w[0].isupper() for w in words if len(w) > 3)


# Paragraphs -----------------------------------------------------------------------------------------------------------


def reflowed(paragraph: str) -> str:
    """A paragraph on one line, verse (short lines that begin with capitals) on its own lines; runs of spaces as one.

    >>> reflowed("It was  a dark\\nand stormy night."), reflowed("Turn back, turn back,\\nYoung maiden fair,\\nLinger not.")
    ('It was a dark and stormy night.', 'Turn back, turn back,\\nYoung maiden fair,\\nLinger not.')
    """
    lines = [" ".join(line.split()) for line in paragraph.split("\n")]
    lines = [line for line in lines if line]
    capitals = sum(bool(re.match(r"[\"'(]*[A-Z]", line)) for line in lines)
    verse = len(lines) >= 2 and all(len(line) < VERSE_WIDTH for line in lines) and capitals > 0.75 * len(lines)
    return "\n".join(lines) if verse else " ".join(lines)


_COMMON_WORDS = (
    "the of and a upon once to in he was i that it his you with as for had is her but not at on be she they have said him all my"
    " were me so from by this one there which them if out when we what up are an no or their been who would do your will"
    " could its then into little very now down about like man can our over has did come back than after some old how go"
    " other more here before well see never where know get must time went am good two"
)
COMMON = frozenset(_COMMON_WORDS.split())


def _strange(paragraph: str, report: CleanReport) -> bool:
    """Whether the paragraph is not English, or hardly text; it is counted then."""
    letters = sum(c.isalpha() for c in paragraph)
    dense = len(paragraph.replace(" ", ""))
    if any(c.isalpha() and not c.isascii() for c in paragraph):
        report.take("foreign", paragraph)
    elif dense >= 20 and letters < dense / 2:
        report.take("garbled", paragraph)
    elif len(words := re.findall(r"[a-z']+", paragraph.lower())) >= 40 and sum(w in COMMON for w in words) < 0.1 * len(words):  # fmt: skip
        report.take("foreign", paragraph)
    else:
        return False
    return True


def sections(text: str, min_words: int = 60) -> Iterator[str]:
    """A cleaned text cut before its titles; a part of fewer words joins the one before it, if there is one.

    First words that are printed in capitals ("ONCE UPON a time") are spelt as elsewhere.

    >>> [s.split("\\n")[0] for s in sections("ONE\\n\\nIt began.\\n\\nTWO\\n\\nIt ended.", min_words=2)]
    ['ONE', 'TWO']
    """
    parts: list[list[str]] = [[]]
    titles = True  # whether the last part holds nothing but titles so far
    for paragraph in filter(None, text.split("\n\n")):
        titled = is_title(paragraph)
        if titled and not titles:
            parts.append([])
        parts[-1].append(paragraph)
        titles = titled
    joined: list[str] = []
    for part in filter(None, parts):
        first = next((n for n, p in enumerate(part) if not is_title(p)), 0)
        part[first] = opening(part[first])
        said = "\n\n".join(part)
        if joined and len(said.split()) < min_words:
            joined[-1] += "\n\n" + said
        else:
            joined.append(said)
    yield from joined


_CAPITALS = re.compile(r"\A([\"']*)([A-Z][A-Z',]*(?: [A-Z][A-Z',]*){0,5})(?= [a-z])")


def opening(paragraph: str) -> str:
    """A paragraph whose first words are in capitals, as printers do; common words small, others with a capital.

    >>> opening("ONCE UPON a time"), opening("THE KING, old and ill,"), opening("I AM here."), opening("He saw it.")
    ('Once upon a time', 'The King, old and ill,', 'I am here.', 'He saw it.')
    """
    match = _CAPITALS.match(paragraph)
    if match is None or len(match.group(2)) < 2:
        return paragraph
    words = [w.lower() if w.strip(",'").lower() in COMMON - {"i"} else w.capitalize() for w in match.group(2).split()]
    words[0] = words[0].capitalize()
    return match.group(1) + " ".join(words) + paragraph[match.end() :]


# Text that was cut into tokens ----------------------------------------------------------------------------------------


def detokenised(text: str) -> str:
    """Text with spaces around its signs and all in small letters, as sets of the nineties have it, in plain spelling.

    Spaces before signs go, sentences and "i" get their capitals; names stay small. Other text is given back as it is.

    >>> detokenised('i saw it . " fine , " he said ( twice ) , and it\\'s ok .')
    'I saw it. "Fine," he said (twice), and it\\'s ok.'
    """
    spaced, signs = len(re.findall(r"\s[.,](?=\s|$)", text)), len(re.findall(r"[.,](?=\s|$)", text))
    if not signs or spaced < 0.5 * signs:
        return text
    lines = [_line_detokenised(line) for line in text.split("\n")]
    return "\n".join(lines)


def _line_detokenised(line: str) -> str:
    parts = line.split('"')
    if len(parts) % 2:  # quotes in pairs: open, close
        line = "".join(f'"{p.strip()}"' if i % 2 else p for i, p in enumerate(parts))
    line = re.sub(r"(?<!\s)\s+([.,;:!?)\]])", r"\1", line)  # a run of spaces is tried once, from its beginning
    line = re.sub(r"([(\[])\s+", r"\1", line)
    line = re.sub(r"(?<!\s)\s+('(?:s|t|re|ve|ll|d|m)\b)", r"\1", line)
    if sum(c.isupper() for c in line) <= 0.002 * len(line):
        line = re.sub(r"(\A\W*|[.!?][)\"']*\s+[(\"']*)([a-z])", _raised, line)
        line = re.sub(r"\bi\b(?=[\s',.!?]|$)", "I", line)
    return " ".join(line.split())


_raised: Callable[[re.Match[str]], str] = lambda m: m.group(1) + m.group(2).upper()
