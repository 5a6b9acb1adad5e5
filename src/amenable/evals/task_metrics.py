"""How well a model does one task, by the libraries that papers use: scikit-learn, seqeval, rouge-score and sacrebleu.

Shares lie between 0 and 1; BLEU and chrF between 0 and 100, as sacrebleu gives them. Exact match and the words' F1 are those of
SQuAD (Rajpurkar et al. 2016): case, punctuation and articles aside, the best of the right answers.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np

from amenable.data.examples import Task
from amenable.errors import MissingExtraError
from amenable.evals import rouge
from amenable.evals.statistics import paired_columns, pearson, spearman

Answers = Sequence[Sequence[str]]
CHOOSE_BY: dict[str, str] = {
    "classification": "accuracy",
    "regression": "rmse",
    "tokens": "f1",
    "extraction": "f1",
    "target": "rougeL",
}
"""The figure that says which step's model is best, where none is named."""
LOWER_IS_BETTER = ("rmse", "absolute_error")
NAMES: dict[str, tuple[str, ...]] = {
    "classification": ("accuracy", "f1_macro", "f1_micro"),
    "regression": ("rmse", "absolute_error", "pearson", "spearman"),
    "tokens": ("f1", "precision", "recall", "accuracy"),
    "extraction": ("exact_match", "f1"),
    "target": ("exact_match", "rouge1", "rouge2", "rougeL", "bleu", "chrf"),
}
"""The figures of each task."""


def classification(told: Sequence[str], right: Sequence[str]) -> dict[str, float]:
    """Accuracy and F1 over classes, of scikit-learn.

    >>> classification(["a", "b", "b"], ["a", "b", "a"])["accuracy"]
    0.6666666666666666
    """
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "accuracy": float(accuracy_score(right, told)),
        "f1_macro": float(f1_score(right, told, average="macro", zero_division=0)),
        "f1_micro": float(f1_score(right, told, average="micro", zero_division=0)),
    }


def regression(told: Sequence[float], right: Sequence[float]) -> dict[str, float]:
    """Errors in the numbers' own unit, and how the two go together.

    >>> regression([1.0, 2.0, 4.0], [1.0, 2.0, 3.0])["absolute_error"]
    0.3333333333333333
    """
    told_N, right_N = paired_columns(told, right)
    error = told_N - right_N
    return {
        "rmse": float(np.sqrt((error**2).mean())),
        "absolute_error": float(np.abs(error).mean()),
        "pearson": pearson(told, right),
        "spearman": spearman(told, right),
    }


def tokens(told: Sequence[Sequence[str]], right: Sequence[Sequence[str]]) -> dict[str, float]:
    """Entities by seqeval (B-, I- and O tags; an entity counts if all of it is right), words by accuracy.

    >>> tokens([["B-PER", "O"]], [["B-PER", "O"]])["f1"]
    1.0
    """
    seqeval = _needed("seqeval.metrics", "seqeval")
    plain_told, plain_right = [list(t) for t in told], [list(r) for r in right]
    return {
        "f1": float(seqeval.f1_score(plain_right, plain_told, zero_division=0)),
        "precision": float(seqeval.precision_score(plain_right, plain_told, zero_division=0)),
        "recall": float(seqeval.recall_score(plain_right, plain_told, zero_division=0)),
        "accuracy": float(seqeval.accuracy_score(plain_right, plain_told)),
    }


def extraction(told: Sequence[str], right: Answers) -> dict[str, float]:
    """Exact match, and the F1 of words, each against the best of the right answers.

    >>> extraction(["The red cat."], [["red cat", "a cat"]])
    {'exact_match': 1.0, 'f1': 1.0}
    """
    exact = [max(float(normal(t) == normal(one)) for one in r) for t, r in zip(told, right, strict=True)]
    return {"exact_match": float(np.mean(exact)), "f1": float(np.mean(best_f1(told, right)))}


def target(told: Sequence[str], right: Answers) -> dict[str, float]:
    """Exact match, ROUGE (English words stemmed, the best of the references), BLEU and chrF (corpus; all references).

    >>> sorted(target(["the cat"], [["the cat"]]))
    ['bleu', 'chrf', 'exact_match', 'rouge1', 'rouge2', 'rougeL']
    """
    sacrebleu = _needed("sacrebleu", "sacrebleu")
    most = max(len(r) for r in right)
    references = [[r[n] if n < len(r) else None for r in right] for n in range(most)]  # None: it has no so many
    return {
        "exact_match": extraction(told, right)["exact_match"],
        **{name: float(np.mean(values)) for name, values in best_rouge(told, right).items()},
        "bleu": float(sacrebleu.corpus_bleu(list(told), references).score),
        "chrf": float(sacrebleu.corpus_chrf(list(told), references).score),
    }


def by_example(task: Task, told: Sequence[str], right: Sequence[str] | Answers) -> list[float] | None:
    """What each example adds to the task's own figure (CHOOSE_BY); None where that is no mean over examples.

    >>> by_example("classification", ["a", "b"], ["a", "a"]), by_example("extraction", ["red cat"], [["red dog"]])
    ([1.0, 0.0], [0.5])
    """
    if task == "classification":
        return [float(t == r) for t, r in zip(told, right, strict=True)]
    if task == "extraction":
        return best_f1(told, right)
    return best_rouge(told, right)["rougeL"] if task == "target" else None


def best_f1(told: Sequence[str], right: Answers) -> list[float]:
    """The F1 of words of each answer, against the best of its right ones."""
    return [max(words_f1(t, one) for one in r) for t, r in zip(told, right, strict=True)]


def best_rouge(told: Sequence[str], right: Answers) -> dict[str, list[float]]:
    """ROUGE-1, -2 and -L of each text, against the best of its references."""
    names = ("rouge1", "rouge2", "rougeL")
    scorer = _needed("rouge_score.rouge_scorer", "rouge-score").RougeScorer(list(names), tokenizer=_AnyScript())
    scored = [scorer.score_multi(list(r), t) for t, r in zip(told, right, strict=True)]
    return {name: [float(s[name].fmeasure) for s in scored] for name in names}


class _AnyScript:
    """Splits for rouge-score, whose own splitting sees ASCII alone: words of any script, those in ASCII stemmed as it does."""

    def __init__(self) -> None:
        stemmed = _needed("rouge_score.tokenizers", "rouge-score").DefaultTokenizer(use_stemmer=True)
        self._stemmed: Callable[[str], list[str]] = stemmed.tokenize

    def tokenize(self, text: str) -> list[str]:
        return [part for word in rouge.tokens(text) for part in (self._stemmed(word) if word.isascii() else [word])]


def better(name: str, value: float, than: float | None) -> bool:
    """Whether a figure beats the best so far; the first always does.

    >>> better("rmse", 0.4, 0.5), better("f1", 0.4, 0.5), better("f1", 0.4, None)
    (True, False, True)
    """
    if than is None:
        return True
    return value < than if name in LOWER_IS_BETTER else value > than


def words_f1(told: str, right: str) -> float:
    """The F1 of the words that two answers share.

    >>> words_f1("the red cat", "a red dog")
    0.5
    """
    a, b = normal(told).split(), normal(right).split()
    shared = sum((Counter(a) & Counter(b)).values())
    if not a or not b:
        return float(a == b)
    return 2 * shared / (len(a) + len(b))


def normal(answer: str) -> str:
    """An answer without case, punctuation, articles and odd spaces, as SQuAD compares them.

    >>> normal("The  red, red cat!")
    'red red cat'
    """
    bare = "".join(c for c in answer.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def require(task: Task) -> None:
    """Raise MissingExtraError now if a package that measures this task is not there."""
    for module, package in {"tokens": (("seqeval.metrics", "seqeval"),), "target": (("rouge_score", "rouge-score"), ("sacrebleu", "sacrebleu"))}.get(task, ()):  # fmt: skip
        _needed(module, package)


def _needed(module: str, package: str) -> ModuleType:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(package, extra="metrics", purpose="measuring this task") from error
