"""How good labels are: agreement over all, by question, labeler, difficulty and week; known answers; signs of spam.

settled      what a settlement set aside was said all the same, and counts here; the reviewer's own answer, which was given
             in the knowledge of the others, does not
difficulty   tasks in thirds by how far their own labelers agree: easy, middle, hard
consensus    of a labeler: pairs of responses put in the order that most of the others put them in
signals      reasons to look at somebody's work, never a verdict: each says what was seen
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean, median

import sqlalchemy as sa

from amenable.feedback import review, settling
from amenable.feedback.agreement import Alpha, Measure, Share, alpha, pairs_of, same_order, share
from amenable.feedback.forms import Form, Question, is_kind, main_scale
from amenable.feedback.lessons import passed_of
from amenable.feedback.projects import About, questions_of
from amenable.feedback.review import Said
from amenable.feedback.tables import Assignment, Task, User
from amenable.types import Record

MIN_FOR_SIGNAL = 10
"""Submissions below which nobody's work is called strange."""


class OfQuestion(Record, frozen=True):
    """Agreement on one question. agree: share of equal answers of two people (scales: at most 1 apart)."""

    question: str
    kind: str
    alpha: Alpha
    agree: Share


class OfLabeler(Record, frozen=True):
    """One person's work in a project."""

    user: int
    name: str
    submitted: int
    skipped: int
    median_s: float | None
    agree: Share  # with each other person
    consensus: Share  # with the majority of the others
    gold_right: int
    gold_total: int
    signals: tuple[tuple[str, str], ...]  # name, in plain words


class OfWeek(Record, frozen=True):
    """One ISO week: agreement, and the mean overall rating."""

    week: str
    agree: Share
    mean_overall: float | None


class Quality(Record, frozen=True):
    """Everything about the labels of a project."""

    agreement: Share
    questions: tuple[OfQuestion, ...]
    labelers: tuple[OfLabeler, ...]
    difficulty: tuple[tuple[str, int, Share], ...]  # name, tasks, agreement
    drift: tuple[OfWeek, ...]


def quality(connection: sa.Connection, about: About) -> Quality:
    """All figures of a project; annotations that were rejected for themselves do not count."""
    said = _said(connection, about.id)
    orders = _orders(connection, about, said)
    per_task = {task: _sum(pairs_of(people)) for task, people in orders.items()}
    return Quality(
        agreement=_share(per_task.values()),
        questions=tuple(_questions(connection, about, said)),
        labelers=tuple(_labelers(connection, about, said, orders)),
        difficulty=tuple(_difficulty(per_task)),
        drift=tuple(_drift(said, orders)),
    )


def consensus_of(connection: sa.Connection, about: About, person: int) -> Share:
    """How far a person agrees with the majority of the others, on tasks that both did."""
    return _consensus(_orders(connection, about, _said(connection, about.id)), person)


def order_of(form: Form, scale: str) -> dict[int, float]:
    """A number per response, lower is better: tiers, a comparison, 0/1 labels, else ratings on this scale, else overall
    ones, as an older questionnaire may have asked; {} if none is said."""
    if form.tiers is not None:
        return {i: float(tier) for i, tier in enumerate(form.tiers) if tier is not None}
    if form.strength is not None:
        return {0: float(form.strength), 1: 0.0}
    if form.labels is not None:
        return {i: -float(yes) for i, yes in enumerate(form.labels) if yes is not None}
    return _ratings(form, scale) or _ratings(form, "overall")


def agreement_of(people: Sequence[Said], scale: str) -> Share:
    """How far the people of one task agree. scale: what orders responses that were only rated (forms.main_scale)."""
    return _share([_sum(pairs_of({s.user: order_of(s.form, scale) for s in people if _counts(s)}))])


def is_settled(people: Iterable[Said]) -> bool:
    """Whether a reviewer's answer counts instead of all others."""
    return any(s.settles and s.verdict != "rejected" for s in people)


def _ratings(form: Form, scale: str) -> dict[int, float]:
    said = {a.response: a.value for a in form.answers if a.question == scale and a.response is not None}
    return {i: -float(value) for i, value in said.items() if is_kind("scale", value)}


def _orders(
    connection: sa.Connection, about: About, said: Mapping[int, Sequence[Said]]
) -> dict[int, dict[int, dict[int, float]]]:
    """{task: {person: how they order its responses}}."""
    scale = main_scale(questions_of(connection, about.questionnaire))
    return {
        task: {s.user: order for s in people if (order := order_of(s.form, scale))} for task, people in said.items()
    }


def _said(connection: sa.Connection, project: int) -> dict[int, list[Said]]:
    wanted = sa.select(Task.id).where(Task.project_id == project, Task.purpose == "work")
    found = review.said_of(connection, connection.execute(wanted).scalars())
    return {task: [s for s in people if _counts(s)] for task, people in found.items()}


def _counts(said: Said) -> bool:
    return not said.settles and (said.verdict != "rejected" or said.note.startswith(settling.ASIDE))


def _sum(pairs: Iterator[tuple[int, int, int, int]]) -> tuple[int, int]:
    found = [(agree, num) for _, _, agree, num in pairs]
    return sum(agree for agree, _ in found), sum(num for _, num in found)


def _share(counts: object) -> Share:
    found = list(counts)  # type: ignore[call-overload]
    return share(sum(agree for agree, _ in found), sum(num for _, num in found))


def _questions(connection: sa.Connection, about: About, said: Mapping[int, Sequence[Said]]) -> Iterator[OfQuestion]:
    sizes = sa.select(Task.id, Task.generations).where(Task.project_id == about.id)
    num_responses = {task: len(shown) for task, shown in connection.execute(sizes).tuples()}
    versions = {one.questionnaire for people in said.values() for one in people}
    asked = {version: questions_of(connection, version) for version in versions}
    for question in questions_of(connection, about.questionnaire):
        if question.kind == "text":
            continue
        units: dict[tuple[int, int | None], list[float | str]] = defaultdict(list)
        for task, people in said.items():
            for one in people:
                was_asked = any(q.name == question.name and _takes_no(q) for q in asked[one.questionnaire])
                num_no = num_responses[task] if one.form.said_no and was_asked else 0
                for key, value in _values(one.form, question, num_no):
                    units[task, key].append(value)
        usable = [values for values in units.values() if len(values) > 1]
        measure: Measure = "ordinal" if question.kind == "scale" else "nominal"
        reach = 1.0 if question.kind == "scale" else 0.0
        pairs = [(a, b) for values in usable for i, a in enumerate(values) for b in values[i + 1 :]]
        same = sum(
            abs(float(a) - float(b)) <= reach if not isinstance(a, str) and not isinstance(b, str) else a == b
            for a, b in pairs
        )
        draws = 200 if len(usable) <= 2000 else 50
        yield OfQuestion(
            question=question.name,
            kind=question.kind,
            alpha=alpha(usable, measure, draws=draws),
            agree=share(same, len(pairs)),
        )


def _takes_no(question: Question) -> bool:
    """Whether a yes/no list handed in as complete answers no where it does not say yes."""
    return question.kind == "yes_no" and question.scope == "response"


def _values(form: Form, question: Question, num_no: int) -> Iterator[tuple[int | None, float | str]]:
    """(response, answer) of one question. num_no: of so many responses the answer is no where none is said.

    Answers of another kind are left out: an older version asked something else under this name.
    """
    answered = {a.response: a.value for a in form.answers if a.question == question.name}
    if _takes_no(question):
        for response in range(num_no):
            answered.setdefault(response, False)
    for position, value in answered.items():
        if is_kind(question.kind, value):
            yield position, value if isinstance(value, str) else float(value)


def _labelers(
    connection: sa.Connection,
    about: About,
    said: Mapping[int, Sequence[Said]],
    orders: Mapping[int, Mapping[int, Mapping[int, float]]],
) -> Iterator[OfLabeler]:
    own: dict[int, list[Said]] = defaultdict(list)
    for people in said.values():
        for one in people:
            own[one.user].append(one)
    skips = (
        sa.select(Assignment.user_id, sa.func.count())
        .join(Task, Task.id == Assignment.task_id)
        .where(Task.project_id == about.id, Assignment.state == "skipped")
        .group_by(Assignment.user_id)
    )
    skipped = {user: num for user, num in connection.execute(skips).tuples()}
    names = dict(connection.execute(sa.select(User.id, User.name).where(User.id.in_({*own, *skipped}))).tuples().all())
    typical = median([s.active_s for mine in own.values() for s in mine] or [0.0])
    for user in sorted({*own, *skipped}, key=lambda u: names[u]):
        gold = list(passed_of(connection, about.id, user, "gold").values())
        yield OfLabeler(
            user=user,
            name=names[user],
            submitted=len(own[user]),
            skipped=skipped.get(user, 0),
            median_s=median(s.active_s for s in own[user]) if own[user] else None,
            agree=_share(
                (agree, num)
                for people in orders.values()
                for one, other, agree, num in pairs_of(people)
                if user in (one, other)
            ),
            consensus=_consensus(orders, user),
            gold_right=sum(gold),
            gold_total=len(gold),
            signals=tuple(signals(own[user], typical, gold)),
        )


def _consensus(orders: Mapping[int, Mapping[int, Mapping[int, float]]], person: int) -> Share:
    agree = num = 0
    for people in orders.values():
        others = [order for user, order in people.items() if user != person]
        if person not in people or not others:
            continue
        spots = sorted(people[person])
        for i, a in enumerate(spots):
            for b in spots[i + 1 :]:
                votes = sum(
                    (o[a] > o[b]) - (o[a] < o[b]) for o in others if a in o and b in o
                )  # above 0: most hold b better
                mine = people[person][a] - people[person][b]
                if votes and mine:
                    num += 1
                    agree += (votes > 0) == (mine > 0)
    return share(agree, num)


def signals(own: Sequence[Said], typical_s: float, gold: Sequence[bool]) -> Iterator[tuple[str, str]]:
    """Reasons to look at a person's work, each in plain words."""
    if len(gold) >= 4 and sum(gold) < len(gold) / 2:
        yield "gold", f"meets {sum(gold)} of {len(gold)} known answers"
    if len(own) < MIN_FOR_SIGNAL:
        return
    pace = median(s.active_s for s in own)
    if typical_s > 0 and pace < typical_s / 4:
        yield "fast", f"takes {pace:.0f} s for a task that takes people {typical_s:.0f} s"
    values = Counter(
        a.value for s in own for a in s.form.answers if isinstance(a.value, int | float) and a.value is not True
    )
    if values and values.most_common(1)[0][1] > 0.95 * values.total() and values.total() >= 3 * MIN_FOR_SIGNAL:
        yield "same_answer", f"answers {values.most_common(1)[0][0]:g} nearly always"
    texts = Counter(s.form.text.strip() for s in own if s.form.text)
    if texts and texts.most_common(1)[0][1] >= 3:
        yield "copy", f"wrote the same text {texts.most_common(1)[0][1]} times"


def _difficulty(per_task: Mapping[int, tuple[int, int]]) -> Iterator[tuple[str, int, Share]]:
    ranked = sorted((agree / num, task) for task, (agree, num) in per_task.items() if num)
    for third, name in enumerate(("hard", "middle", "easy")):
        tasks = [t for _, t in ranked[third * len(ranked) // 3 : (third + 1) * len(ranked) // 3]]
        yield name, len(tasks), _share(per_task[t] for t in tasks)


def _drift(
    said: Mapping[int, Sequence[Said]], orders: Mapping[int, Mapping[int, Mapping[int, float]]]
) -> Iterator[OfWeek]:
    """By the week in which the later of two people handed in."""
    counts: dict[str, list[tuple[int, int]]] = defaultdict(list)
    overall: dict[str, list[float]] = defaultdict(list)
    for task, people in said.items():
        weeks = {s.user: _week(s) for s in people}
        for s in people:
            overall[weeks[s.user]] += [
                float(a.value) for a in s.form.answers if a.question == "overall" and isinstance(a.value, int | float)
            ]
        users = sorted(orders[task])
        for i, one in enumerate(users):
            for other in users[i + 1 :]:
                counts[max(weeks[one], weeks[other])].append(same_order(orders[task][one], orders[task][other]))
    for week in sorted({*counts, *overall}):
        mean = fmean(overall[week]) if overall[week] else None
        yield OfWeek(week=week, agree=_share(counts[week]), mean_overall=mean)


def _week(said: Said) -> str:
    if said.at is None:
        return ""
    year, week, _ = said.at.isocalendar()
    return f"{year}-W{week:02d}"
