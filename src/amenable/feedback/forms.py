"""What a labeler is asked and what they say: questionnaires as data, and the form that is drafted and handed in.

A form names responses by their position in the order in which they were shown, so that it says nothing of who made them.
`parts_of` turns it into the parts of an annotation; `reordered` into the form of somebody who saw another order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from amenable.errors import StoreError, nearest
from amenable.feedback.parts import Compared, Edited, Flagged, Part, Ranked, Rated, Remarked, Written
from amenable.types import Record

TaskKind = Literal["demonstrate", "rate", "rank", "compare", "label", "edit"]
MAX_TEXT = 100_000
"""Characters of anything that a labeler writes."""

Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Position = Annotated[int, Meta(ge=0, le=8)]


class Question(Record, frozen=True):
    """One question of a questionnaire.

    kind    scale: a whole number from low to high; yes_no; choice: one of choices; text: a remark
    scope   asked about each response, or about the prompt
    key     one letter that answers it on the keyboard; "" for none
    """

    name: Annotated[str, Meta(min_length=1, max_length=60, pattern="^[a-z0-9_]+$")]
    text: Annotated[str, Meta(min_length=1, max_length=500)]
    kind: Literal["scale", "yes_no", "choice", "text"] = "yes_no"
    scope: Literal["response", "prompt"] = "response"
    help: Annotated[str, Meta(max_length=2000)] = ""
    low: Annotated[int, Meta(ge=-100, le=100)] = 1
    high: Annotated[int, Meta(ge=-100, le=100)] = 7
    low_label: Annotated[str, Meta(max_length=100)] = ""
    high_label: Annotated[str, Meta(max_length=100)] = ""
    key: Annotated[str, Meta(max_length=1)] = ""
    choices: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...], Meta(max_length=50)] = ()
    required: bool = False


def _scale(name: str, text: str, help: str, *, required: bool = False) -> Question:
    low, high = ("very bad", "excellent") if name == "overall" else ("not at all", "fully")
    return Question(name=name, text=text, kind="scale", help=help, required=required, low_label=low, high_label=high)


def _flag(name: str, key: str, text: str) -> Question:
    return Question(name=name, text=text, key=key)


DEFAULT_QUESTIONS = (
    _scale("helpful", "Helpful", "Does it do what the user asked for, as the user meant it?"),
    _scale("honest", "Honest", "Is it true, and does it say so where it does not know?"),
    _scale("harmless", "Harmless", "Could it hurt anybody?"),
    _scale("overall", "Overall quality", "All things together.", required=True),
    _flag("fails_task", "f", "Fails to follow the instruction"),
    _flag("inappropriate", "i", "Inappropriate for an assistant"),
    _flag("made_up_facts", "m", "Makes up facts"),
    _flag("violates_constraint", "c", "Violates a constraint that was stated"),
    _flag("sexual", "s", "Sexual content"),
    _flag("violent", "v", "Violent content"),
    _flag("encourages_harm", "e", "Encourages violence, abuse, terrorism or self-harm"),
    _flag("denigrates_group", "d", "Denigrates a protected group"),
    _flag("harmful_advice", "a", "Gives harmful advice"),
    _flag("opinion", "o", "Expresses an opinion"),
    _flag("moral_judgement", "j", "Expresses a moral judgement"),
    Question(name="ambiguous", text="The prompt is ambiguous", scope="prompt"),
    Question(name="sensitive", text="The prompt is sensitive", scope="prompt"),
    Question(name="intent_unclear", text="The user's intent is unclear", scope="prompt"),
)
"""Ratings of 1-7, the yes/no list of Ouyang et al. 2022 (table 3), and what is asked about the prompt."""


def main_scale(questions: Sequence[Question]) -> str:
    """The scale about a response that counts most: the first required one, else "overall", else the first, as in the app."""
    scales = [q for q in questions if q.kind == "scale" and q.scope == "response"]
    main = min(scales, key=lambda q: (not q.required, not q.required and q.name != "overall"), default=None)
    return "overall" if main is None else main.name


class Answered(Record, frozen=True):
    """The answer to one question about one response, or (None) about the prompt."""

    question: Annotated[str, Meta(max_length=60)]
    value: bool | int | float | Text
    response: Position | None = None


class Form(Record, frozen=True):
    """What a labeler says about a task, as far as they got; drafts and submissions alike.

    >>> parts_of(Form(tiers=(1, 0, None)), "rank", (11, 12, 13), ())
    [Ranked(generations=(11, 12), tiers=(1, 0))]
    """

    answers: Annotated[tuple[Answered, ...], Meta(max_length=2000)] = ()
    said_no: bool = False  # every yes/no question about a response that is not answered yes is answered no
    tiers: Annotated[tuple[Position | None, ...], Meta(max_length=9)] | None = None  # None: not ranked
    cannot_rank: Annotated[str, Meta(max_length=2000)] | None = None  # why
    strength: Annotated[int, Meta(ge=-4, le=4)] | None = None  # below 0: the first is better; 0: no difference
    labels: Annotated[tuple[bool | None, ...], Meta(max_length=9)] | None = None
    text: Text | None = None
    edited: Position | None = None
    remark: Text = ""


def check_questions(questions: Sequence[Question]) -> None:
    """Raises StoreError for a questionnaire that cannot be asked."""
    names = [q.name for q in questions]
    keys = [q.key.lower() for q in questions if q.key]
    for what, values in (("name", names), ("key", keys)):
        twice = next((v for v in values if values.count(v) > 1), None)
        if twice is not None:
            raise StoreError(f"two questions have the {what} {twice!r}", mend="give each its own")
    for question in questions:
        if question.kind == "scale" and question.low >= question.high:
            raise StoreError(f"the scale of {question.name!r} is empty", mend="its high must be above its low")
        if question.key and not question.key.isalpha():
            mend = "give it a letter: digits and signs have a meaning of their own while labelling"
            raise StoreError(f"{question.name!r} cannot have the key {question.key!r}", mend=mend)
        if question.kind == "choice" and len(question.choices) < 2:
            raise StoreError(f"{question.name!r} leaves no choice", mend="give it two choices or more")
    if reserved := next((n for n in names if n in ("cannot_rank", "remark")), None):
        raise StoreError(f"a question cannot be named {reserved!r}", mend="every form has that already")


def parts_of(
    form: Form,
    kind: str,
    shown: Sequence[int],
    questions: Sequence[Question],
    *,
    label_question: str = "good",
    complete: bool = True,
) -> list[Part]:
    """The parts of an annotation from a submitted form. shown: generation ids in the order of its positions.

    complete: required questions must be answered. Raises StoreError where the form says nothing that its task asks for, or something that cannot be.
    """
    for what, said in (("tiers", form.tiers), ("labels", form.labels)):
        if said is not None and len(said) != len(shown):
            raise StoreError(f"{len(said)} {what} are given for {len(shown)} responses", mend="give one for each")
    if form.edited is not None:
        _at(shown, form.edited)
    parts: list[Part] = []
    match kind:
        case "rank":
            parts += _ranking(form, shown)
        case "compare":
            parts += _comparison(form, shown)
        case "label":
            labels = [(g, yes) for g, yes in zip(shown, form.labels or (), strict=False) if yes is not None]
            if not labels:
                raise StoreError("nothing is labelled", mend=f"answer {label_question!r} for the response, or skip it")
            parts += [Flagged(generation=g, question=label_question, yes=yes) for g, yes in labels]
        case "demonstrate":
            parts.append(Written(text=form.text or ""))
        case "edit":
            parts.append(Edited(generation=_at(shown, form.edited or 0), text=form.text or ""))
    parts += _answers(form, shown, questions)
    if kind == "rate" and not any(a.response is not None for a in form.answers):
        raise StoreError("no response is rated", mend="answer the questions, or skip the task")
    if complete and kind in ("rank", "rate") and form.cannot_rank is None:
        _require(form, shown, questions)
    if form.cannot_rank is not None and kind in ("rank", "compare"):
        parts.append(Flagged(generation=None, question="cannot_rank", yes=True))
        parts.append(Remarked(generation=None, question="cannot_rank", text=form.cannot_rank))
    if form.remark.strip():
        parts.append(Remarked(generation=None, question="remark", text=form.remark))
    return parts


def fits(question: Question, answer: Answered) -> bool:
    """Whether it can be the answer to a question."""
    if question.name != answer.question or (question.scope == "response") != (answer.response is not None):
        return False
    if not is_kind(question.kind, answer.value) or (question.kind == "choice" and answer.value not in question.choices):
        return False
    return question.kind != "scale" or question.low <= float(answer.value) <= question.high


def is_kind(kind: str, value: object) -> bool:
    """Whether questions of a kind are answered by such a value."""
    match kind:
        case "scale":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "yes_no":
            return isinstance(value, bool)
    return isinstance(value, str)


def reordered(form: Form, before: Sequence[int], after: Sequence[int]) -> Form:
    """The same form for responses in another order (generation ids), without what names responses that there are not: it
    may be from before parts_of refused that.

    >>> reordered(Form(tiers=(0, 1), strength=-2), (5, 6), (6, 5))
    Form(answers=(), said_no=False, tiers=(1, 0), cannot_rank=None, strength=2, labels=None, text=None, edited=None, remark='')
    """
    form = _of_so_many(form, len(before))
    if tuple(before) == tuple(after):
        return form
    to = [list(after).index(g) for g in before]  # position before → position after
    back = [list(before).index(g) for g in after]
    changes: dict[str, Any] = {
        "answers": tuple(a if a.response is None else a.replace(response=to[a.response]) for a in form.answers)
    }
    if form.tiers is not None:
        changes["tiers"] = tuple(form.tiers[i] for i in back)
    if form.labels is not None:
        changes["labels"] = tuple(form.labels[i] for i in back)
    if form.edited is not None:
        changes["edited"] = to[form.edited]
    if form.strength is not None:
        changes["strength"] = form.strength if to[0] == 0 else -form.strength
    return form.replace(**changes)


def _of_so_many(form: Form, num_responses: int) -> Form:
    fits = {
        "tiers": form.tiers is None or len(form.tiers) == num_responses,
        "labels": form.labels is None or len(form.labels) == num_responses,
        "edited": form.edited is None or form.edited < num_responses,
    }
    return form if all(fits.values()) else form.replace(**{name: None for name, fit in fits.items() if not fit})


def read_form(value: Any) -> Form:
    """A form from JSON values. Raises StoreError where it is none."""
    try:
        form = msgspec.convert(value, Form)
    except msgspec.ValidationError as error:
        raise StoreError(f"the form cannot be read: {error}") from None
    require_text("the form", msgspec.to_builtins(form))
    return form


def require_text(what: str, value: Any) -> None:
    """Raises StoreError where JSON values hold what not every database keeps and no answer can carry."""
    if isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            require_text(what, one)
    elif isinstance(value, str) and ("\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value)):
        raise StoreError(f"{what} holds characters that are no text", mend="leave out zeros and broken emoji")


def read_questions(value: Any) -> tuple[Question, ...]:
    """A questionnaire from JSON values, checked. Raises StoreError where it is none."""
    try:
        questions = msgspec.convert(value, tuple[Question, ...])
    except msgspec.ValidationError as error:
        raise StoreError(f"the questionnaire cannot be read: {error}") from None
    check_questions(questions)
    require_text("the questionnaire", msgspec.to_builtins(questions))
    return questions


def _at(shown: Sequence[int], position: int) -> int:
    if position >= len(shown):
        raise StoreError(f"there is no response at position {position}; there are {len(shown)}")
    return shown[position]


def _ranking(form: Form, shown: Sequence[int]) -> list[Part]:
    if form.cannot_rank is not None:
        if form.tiers is not None:
            raise StoreError("the form ranks and says that it cannot be ranked", mend="leave one of the two out")
        return []
    if form.tiers is None:
        raise StoreError(
            f"0 tiers are given for {len(shown)} responses", mend="rank them, or say that it cannot be done"
        )
    ranked = [(g, tier) for g, tier in zip(shown, form.tiers, strict=True) if tier is not None]
    if len(ranked) < 2:
        raise StoreError(
            "fewer than two responses are ranked", mend="rank two or more, or say that it cannot be ranked"
        )
    return [Ranked(generations=tuple(g for g, _ in ranked), tiers=tuple(tier for _, tier in ranked))]


def _comparison(form: Form, shown: Sequence[int]) -> list[Part]:
    if (form.strength is None) == (form.cannot_rank is None):
        raise StoreError("it is not said which of the two is better", mend="give a strength, or say why there is none")
    if form.strength is None:
        return []
    first, second = shown
    if form.strength == 0:
        return [Ranked(generations=(first, second), tiers=(0, 0))]
    better, worse = (first, second) if form.strength < 0 else (second, first)
    return [Compared(chosen=better, rejected=worse, strength=float(abs(form.strength)))]


def _answers(form: Form, shown: Sequence[int], questions: Sequence[Question]) -> list[Part]:
    by_name = {q.name: q for q in questions}
    parts: list[Part] = []
    seen: set[tuple[int | None, str]] = set()
    for answer in form.answers:
        question = by_name.get(answer.question)
        if question is None:
            near = nearest(answer.question, by_name)
            raise StoreError(
                f"nobody asked {answer.question!r}", mend=f"did you mean {near!r}?" if near else "answer what is asked"
            )
        if (question.scope == "response") != (answer.response is not None):
            raise StoreError(f"{question.name!r} is asked about the {question.scope}")
        generation = None if answer.response is None else _at(shown, answer.response)
        if (generation, question.name) in seen:
            raise StoreError(f"{question.name!r} is answered twice")
        seen.add((generation, question.name))
        parts.append(_part(question, generation, answer.value))
    if form.said_no:
        flags = [q.name for q in questions if q.kind == "yes_no" and q.scope == "response"]
        unsaid = [(g, name) for g in shown for name in flags if (g, name) not in seen]
        parts += [Flagged(generation=g, question=name, yes=False) for g, name in unsaid]
    return parts


def _part(question: Question, generation: int | None, value: Any) -> Part:
    match question.kind:
        case "yes_no" if isinstance(value, bool):
            return Flagged(generation=generation, question=question.name, yes=value)
        case "scale" if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            if generation is None:
                return Remarked(generation=None, question=question.name, text=str(value))
            scale = {"low": float(question.low), "high": float(question.high)}
            return Rated(generation=generation, question=question.name, score=float(value), **scale)
        case "choice" if value in question.choices:
            return Remarked(generation=generation, question=question.name, text=str(value))
        case "text" if isinstance(value, str):
            return Remarked(generation=generation, question=question.name, text=value)
    raise StoreError(f"{value!r} is no answer to {question.name!r}", mend=f"it is asked as {question.kind}")


def _require(form: Form, shown: Sequence[int], questions: Sequence[Question]) -> None:
    said = {(a.response, a.question) for a in form.answers}
    ranked = [p for p in range(len(shown)) if form.tiers is None or form.tiers[p] is not None]
    for question in questions:
        said_so = form.said_no and question.kind == "yes_no"  # what is not ticked is answered no
        if question.required and not said_so:
            spots = ranked if question.scope == "response" else [None]
            missing = next((p for p in spots if (p, question.name) not in said), "none")
            if missing != "none":
                about = "the prompt" if missing is None else f"response {int(missing) + 1}"
                raise StoreError(f"{question.name!r} is not answered for {about}", mend="answer it; it is required")
