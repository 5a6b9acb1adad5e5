"""What can be measured on texts alone: variety, repetition, length, and how well a model predicts them.

Words are runs of letters, digits and apostrophes, or single other signs, lower-cased: a measure must not
depend on a model's tokenizer, or two models could not be compared. Bits per byte for the same reason: tokens
differ, bytes do not.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from amenable.errors import DataError
from amenable.evals.statistics import Interval, bootstrap
from amenable.types import Record

_WORD = re.compile(r"[\w']+|[^\w\s]")

LogProbs = Callable[[Sequence[str]], Sequence[tuple[float, int]]]
"""texts -> one (sum of log-probs in nats, number of predicted tokens) a text."""


class TextMeasures(Record, frozen=True):
    """Responses of one model, measured.

    distinct_1, distinct_2   different n-grams / all n-grams over all responses; falls with their number, so
    compare
                             equal numbers of responses of about equal length
    repetition   mean share of a response's 4-grams that occurred in it before
    self_bleu    mean share of a response's 4-grams that some other response holds too: 1 is one answer for
    everything finished     share that ended by themselves; None if not known
    """

    num_texts: int
    empty: int
    distinct_1: float
    distinct_2: float
    repetition: float
    self_bleu: float
    mean_words: float
    median_words: float
    longest_words: int
    finished: float | None = None


class Likelihood(Record, frozen=True):
    """How well a model predicts texts. `interval` is that of bits per byte, resampled by text."""

    nats: float
    num_tokens: int
    num_bytes: int
    perplexity: float  # per token of this model
    bits_per_byte: float
    interval: Interval


def measure_texts(texts: Sequence[str], *, finished: Sequence[bool] | None = None) -> TextMeasures:
    """All measures of one model's responses. Raises DataError if there are none.

    >>> m = measure_texts(["the cat sat", "the dog sat"], finished=[True, False])
    >>> (round(m.distinct_1, 3), m.distinct_2, m.mean_words, m.finished)
    (0.667, 1.0, 3.0, 0.5)
    """
    if not texts:
        raise DataError("there are no responses to measure", mend="generate some first")
    if finished is not None and len(finished) != len(texts):
        raise DataError(f"{len(finished)} finish flags for {len(texts)} responses")
    lengths = np.asarray([len(words(t)) for t in texts])
    return TextMeasures(
        num_texts=len(texts),
        empty=int((lengths == 0).sum()),
        distinct_1=distinct_n(texts, 1),
        distinct_2=distinct_n(texts, 2),
        repetition=float(np.mean([repetition(t) for t in texts])),
        self_bleu=self_bleu(texts),
        mean_words=float(lengths.mean()),
        median_words=float(np.median(lengths)),
        longest_words=int(lengths.max()),
        finished=None if finished is None else sum(finished) / len(finished),
    )


def words(text: str) -> list[str]:
    """Words and signs, lower-cased.

    >>> words("Don't stop, Ada!")
    ["don't", 'stop', ',', 'ada', '!']
    """
    return _WORD.findall(text.lower())


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Different n-grams as a share of all n-grams (Li et al. 2016, section 5); 0 if no text is n words long.

    >>> distinct_n(["a b a b"], 2)  # ab, ba, ab
    0.6666666666666666
    """
    grams = [gram for text in texts for gram in _grams(words(text), n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def repetition(text: str, n: int = 4) -> float:
    """Share of a text's n-grams that stood in it before (rep-n of Welleck et al. 2020); 0 if shorter than n
    words.

    >>> repetition("go on go on go on", n=2)  # go-on, on-go, go-on, on-go, go-on
    0.6
    """
    grams = _grams(words(text), n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def self_bleu(texts: Sequence[str], n: int = 4) -> float:
    """Mean share of each text's n-grams that another text holds too; texts shorter than n words are left out.

    A light form of Self-BLEU (Zhu et al. 2018): clipped n-gram precision of one order against all others,
    without brevity penalty, in time linear in the words.

    >>> self_bleu(["a b c d", "a b c d", "e f g h"])
    0.6666666666666666
    """
    counts = [Counter(_grams(words(t), n)) for t in texts]
    most: dict[tuple[str, ...], tuple[int, int]] = {}  # n-gram -> its two highest counts in single texts
    for count in counts:
        for gram, k in count.items():
            first, second = most.get(gram, (0, 0))
            most[gram] = (k, first) if k >= first else (first, max(second, k))
    shares = []
    for count in counts:
        if total := sum(count.values()):
            others = {g: most[g][1] if most[g][0] == k else most[g][0] for g, k in count.items()}
            shares.append(sum(min(k, others[g]) for g, k in count.items()) / total)
    return float(np.mean(shares)) if shares else 0.0


def perplexity(nats: float, num_tokens: int) -> float:
    """exp of the mean negative log-prob. `nats` is the sum of negative log-probs, so at least 0; inf past
    float range.

    >>> round(perplexity(3 * math.log(8), 3), 9)
    8.0
    """
    if num_tokens < 1:
        raise DataError("there is no token to predict", where="perplexity")
    try:
        return math.exp(nats / num_tokens)
    except OverflowError:
        return math.inf


def bits_per_byte(nats: float, num_bytes: int) -> float:
    """Bits that a code of the model needs for each byte of UTF-8 text. `nats` is the sum of negative
    log-probs.

    >>> round(bits_per_byte(16 * math.log(2), 8), 9)
    2.0
    """
    if num_bytes < 1:
        raise DataError("there is no byte to predict", where="bits per byte")
    return nats / (math.log(2) * num_bytes)


def likelihood(texts: Sequence[str], logprobs: LogProbs, *, seed: int = 0) -> Likelihood:
    """Run `logprobs` over the texts; perplexity and bits per byte with its interval over texts.

    >>> found = likelihood(["abcd", "efgh"], lambda texts: [(-8 * math.log(2), 2) for _ in texts])
    >>> (found.bits_per_byte, round(found.perplexity, 6), found.num_tokens)
    (2.0, 16.0, 4)
    """
    pairs = list(logprobs(texts))
    if len(pairs) != len(texts) or not texts:
        raise DataError(f"{len(pairs)} log-probs for {len(texts)} texts", where="likelihood")
    nats_N = np.asarray([-total for total, _ in pairs])
    bytes_N = np.asarray([len(t.encode()) for t in texts])
    num_tokens, num_bytes = sum(count for _, count in pairs), int(bytes_N.sum())
    nats = float(nats_N.sum())

    def statistic(rows: np.ndarray) -> float:
        return bits_per_byte(float(nats_N[rows].sum()), max(1, int(bytes_N[rows].sum())))

    bits_per_byte(nats, num_bytes)  # refuses texts that are all empty before anything is resampled
    return Likelihood(
        nats=nats,
        num_tokens=num_tokens,
        num_bytes=num_bytes,
        perplexity=perplexity(nats, num_tokens),
        bits_per_byte=bits_per_byte(nats, num_bytes),
        interval=bootstrap(statistic, len(texts), seed=seed),
    )


def _grams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
