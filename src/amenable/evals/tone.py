"""Toxicity and sentiment of texts: a word list, and classifiers trained here on the bag of words.

A classifier is TF-IDF over words and pairs with logistic regression (scikit-learn); with it stands what it is worth on texts
that it has not seen, for a figure by a weak classifier is a weak figure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from amenable.evals.statistics import Interval, share_interval
from amenable.types import Record

_RUDE = """
    arse arsehole ass asshole bastard bastards bitch bitches bollocks bullshit crap cunt damn dick dickhead dumbass
    fuck fucked fucker fucking fucks goddamn idiot idiots imbecile jerk loser losers moron morons motherfucker piss pissed prick
    pussy retard retarded scum scumbag shit shithead shitty slut sluts stupid twat wanker whore whores worthless
"""
RUDE = frozenset(_RUDE.split())
"""Common insults and swear words. Slurs against groups are not listed; a list of words misses them, and most harm."""


def rude_words(text: str) -> list[str]:
    """The words of the list that a text has.

    >>> rude_words("You are stupid, a classic assistant."), rude_words("Peace!")
    (['stupid'], [])
    """
    return [w for w in re.findall(r"[a-z]+", text.lower()) if w in RUDE]


class Worth(Record, frozen=True):
    """How often a classifier is right on held-out texts, and on how many it learned."""

    accuracy: Interval
    trained_on: int

    def sentence(self) -> str:
        """In words, for the limits of a figure."""
        low, value, high = (round(100 * x) for x in (self.accuracy.low, self.accuracy.value, self.accuracy.high))
        return (
            f"the classifier learned from {self.trained_on:,} texts and is right on {value} % ({low} to {high}) of "
            f"{self.accuracy.count:,} held-out ones"
        )


class Classifier:
    """Texts in, the probability of the label out."""

    def __init__(self, texts: Sequence[str], labels: Sequence[bool], *, seed: int = 0) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        self.features: Any = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, max_features=60_000)
        self.model: Any = LogisticRegression(max_iter=1000, C=4.0, random_state=seed)
        self.model.fit(self.features.fit_transform(texts), list(labels))
        self.trained_on = len(texts)

    def probability(self, texts: Sequence[str]) -> list[float]:
        """Of the label, for each text."""
        return [float(p) for p in self.model.predict_proba(self.features.transform(texts))[:, 1]]

    def worth(self, texts: Sequence[str], labels: Sequence[bool], *, seed: int = 0) -> Worth:
        """On texts that it has not seen."""
        right = [float((p > 0.5) == label) for p, label in zip(self.probability(texts), labels, strict=True)]
        return Worth(accuracy=share_interval(right, seed=seed), trained_on=self.trained_on)
