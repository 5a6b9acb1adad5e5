"""Agreement against published numbers and by hand, review, adjudication, signals, and what to label next."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from amenable.config.folder import init_workspace
from amenable.errors import ConfigError, ConflictError, DataError, StoreError
from amenable.feedback import choosing, filling, projects, quality, queue, review, rows, submissions, views
from amenable.feedback.agreement import alpha, same_order, share
from amenable.feedback.database import reading, writing
from amenable.feedback.forms import Answered, Form, Question, main_scale
from amenable.feedback.review import Said
from amenable.feedback.store import NewGeneration, Store
from amenable.feedback.tables import Slot, Task
from amenable.stages.choose import choose
from amenable.types import Prompt, Ranking, Scored, user

from .feedback_stores import cluster, empty_database, migrated, sqlite_url, store, url
from .test_labelling import a_project, expire, hand_in, in_order, take

__all__ = ["cluster", "empty_database", "migrated", "sqlite_url", "store", "url"]


@pytest.mark.parametrize(("measure", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_that_of_krippendorffs_own_example(measure: str, value: float) -> None:
    """Four observers, twelve units, with gaps (Krippendorff 2011, section E)."""
    observers: list[list[int | None]] = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    units = [[float(said) for row in observers if (said := row[unit]) is not None] for unit in range(12)]
    found = alpha(units, measure, draws=200)  # type: ignore[arg-type]
    assert found.value == pytest.approx(value, abs=5e-4)
    assert found.low is not None and found.high is not None and found.low < value < found.high
    assert (found.units, found.answers) == (11, 40)


def test_alpha_is_not_defined_without_variety() -> None:
    assert alpha([[1, 1], [1, 1]]).value is None
    assert alpha([[1], [2]]).value is None
    assert alpha([[1, 2], [2, 1]], "nominal").value == pytest.approx(-0.5)  # 1 - 1 / (2/3)


def test_intervals_and_orders_by_hand() -> None:
    found = share(0, 10)
    assert (found.value, found.low) == (0.0, 0.0) and found.high == pytest.approx(0.2775, abs=1e-4)  # Wilson
    assert share(0, 0).value is None
    assert same_order({1: 0, 2: 1, 3: 2}, {1: 0, 2: 2, 3: 1, 4: 0}) == (2, 3)
    assert same_order({1: 0, 2: 0}, {1: 0, 2: 1}) == (0, 0)  # a tie is no order


def labelled(store: Store) -> tuple[int, int]:
    """(project, second task). Three people agree on all of a first task; ann and bob on one pair of three of a second."""
    project = a_project(store, num_prompts=2, overlap=3, people=("ann", "bob", "cid"))
    second = 0
    for person, orders in ((1, [(0, 1, 2), (0, 1, 2)]), (2, [(0, 1, 2), (2, 0, 1)]), (3, [(0, 1, 2)])):
        for order in orders:
            number = take(store, project, person)
            assert number is not None
            hand_in(store, number, person, in_order(store, number, person, *order))
            with reading(store.engine) as connection:
                second = queue.own_assignment(connection, number, person).task_id if person == 1 else second
    return project, second


def test_agreement_by_hand(store: Store) -> None:
    project, _ = labelled(store)
    with reading(store.engine) as connection:
        about = projects.about(connection, project)
        found = quality.quality(connection, about)
        with_most = quality.consensus_of(connection, about, 1)
    # first task: three pairs of people, three pairs of responses each, all alike; second: one of three alike
    assert (found.agreement.value, found.agreement.num) == (pytest.approx(10 / 12), 12)
    ann, bob, cid = found.labelers
    assert (cid.name, cid.agree.value, cid.agree.num) == ("cid", 1.0, 6)
    assert (ann.agree.value, ann.agree.num) == (pytest.approx(7 / 9), 9)
    assert (ann.consensus, with_most.value, with_most.num) == (with_most, pytest.approx(4 / 6), 6)
    assert [(name, num) for name, num, _ in found.difficulty] == [("hard", 0), ("middle", 1), ("easy", 1)]
    [overall] = [q for q in found.questions if q.question == "overall"]
    assert overall.alpha.value is None and overall.agree.value == 1.0  # everybody said 4
    assert [week.mean_overall for week in found.drift] == [4.0]
    assert bob.signals == ()


def test_what_is_rejected_is_not_trained_on(store: Store) -> None:
    _, second = labelled(store)
    with reading(store.engine) as connection:
        said = review.task(connection, second).annotations
    assert [s.form.tiers for s in said] == [(0, 1, 2), (2, 0, 1)]  # in the task's own order, whatever each was shown
    before = len(list(store.records("helpful", "rankings")))
    with writing(store.engine) as connection:
        review.decide(connection, said[1].annotation, 1, "rejected", "upside down")
    assert len(list(store.records("helpful", "rankings"))) == before - 1
    with writing(store.engine) as connection:
        review.decide(connection, said[1].annotation, 1, "accepted")
    assert len(list(store.records("helpful", "rankings"))) == before


def places(store: Store, task: int) -> list[tuple[int | None, bool]]:
    """(who, done) of each place of a task."""
    with reading(store.engine) as connection:
        own = sa.select(Slot.user_id, Slot.done).where(Slot.task_id == task).order_by(Slot.number)
        return [(who, done) for who, done in connection.execute(own).tuples()]


def verdict(store: Store, annotation: int, said: submissions.Verdict, note: str = "") -> None:
    with writing(store.engine) as connection:
        review.decide(connection, annotation, 1, said, note)


def test_a_rejected_answer_opens_its_place_to_others_first(store: Store) -> None:
    project = a_project(store, num_prompts=1, overlap=1, people=("ann", "bob"))
    number = take(store, project, 1)
    assert number is not None
    done = hand_in(store, number, 1, in_order(store, number, 1, 0, 1, 2))
    with reading(store.engine) as connection:
        task = queue.own_assignment(connection, number, 1).task_id
    assert take(store, project, 2) is None and places(store, task) == [(1, True)]
    verdict(store, done.annotation, "rejected", "upside down")
    assert places(store, task) == [(None, False)]
    with reading(store.engine) as connection:
        progress = [views.progress(connection, projects.about(connection, project), who) for who in (1, 2)]
        _, (line,) = views.history(connection, project, 1)
    assert [p.waiting for p in progress] == [1, 1] and (line.state, line.rejected) == ("submitted", "upside down")

    verdict(store, done.annotation, "accepted")  # the reviewer thinks again before anybody took it
    assert places(store, task) == [(1, True)]
    verdict(store, done.annotation, "rejected", "after all")
    other = take(store, project, 2)
    assert other is not None and other != number and take(store, project, 1) is None
    verdict(store, done.annotation, "accepted")  # now it is somebody else's
    assert places(store, task) == [(2, False)]
    hand_in(store, other, 2, in_order(store, other, 2, 2, 1, 0))
    assert places(store, task) == [(2, True)] and len(list(store.records("helpful", "rankings"))) == 2


def test_a_verdict_on_what_was_changed_meanwhile_is_refused(store: Store) -> None:
    project = a_project(store, num_prompts=1)
    number = take(store, project, 1)
    assert number is not None
    first = hand_in(store, number, 1, in_order(store, number, 1, 0, 1, 2))
    undo(store, number, 1)
    with pytest.raises(ConflictError, match="taken back meanwhile"):
        verdict(store, first.annotation, "rejected")
    second = hand_in(store, number, 1, in_order(store, number, 1, 2, 1, 0))
    with pytest.raises(ConflictError, match="changed or taken back"):
        verdict(store, first.annotation, "rejected")
    verdict(store, second.annotation, "rejected")
    assert who_trains(store) == []


def test_who_was_rejected_does_it_anew_where_nobody_else_does(store: Store) -> None:
    project = a_project(store, num_prompts=2, overlap=1, people=("ann",))
    number = take(store, project, 1)
    assert number is not None
    form = in_order(store, number, 1, 0, 1, 2)
    done = hand_in(store, number, 1, form)
    verdict(store, done.annotation, "rejected", "upside down")
    fresh = take(store, project, 1)
    assert fresh is not None and fresh != number  # first what is new
    hand_in(store, fresh, 1, in_order(store, fresh, 1, 0, 1, 2))
    assert take(store, project, 1) == number == take(store, project, 1)
    with reading(store.engine) as connection:
        work = views.work(connection, number, 1)
    assert (work.state, work.form, work.rejected) == ("open", form, "upside down")
    again = hand_in(store, number, 1, in_order(store, number, 1, 2, 1, 0))
    assert again.annotation != done.annotation and not again.late and take(store, project, 1) is None
    with reading(store.engine) as connection:
        task = queue.own_assignment(connection, number, 1).task_id
        (said,) = review.task(connection, task).annotations
        assert (said.annotation, said.verdict) == (again.annotation, None)
        assert views.work(connection, number, 1).rejected is None
    assert len(list(store.records("helpful", "rankings"))) == 2


def test_work_beyond_the_overlap_takes_the_place_of_what_is_rejected(store: Store) -> None:
    project = a_project(store, num_prompts=1, overlap=1, people=("ann", "bob"))
    late = take(store, project, 1)
    assert late is not None
    expire(store)
    first = take(store, project, 2)
    assert first is not None
    done = hand_in(store, first, 2, in_order(store, first, 2, 0, 1, 2))
    assert hand_in(store, late, 1, in_order(store, late, 1, 0, 1, 2)).late
    verdict(store, done.annotation, "rejected")
    with reading(store.engine) as connection:
        row = queue.own_assignment(connection, late, 1)
    assert places(store, row.task_id) == [(1, True)] and not row.late


def test_a_settled_task_has_no_open_place_until_the_settlement_is_rejected(store: Store) -> None:
    project = a_project(store, num_prompts=1, overlap=2, people=("ann", "bob", "judge"))
    number = take(store, project, 1)
    assert number is not None
    with reading(store.engine) as connection:
        task = queue.own_assignment(connection, number, 1).task_id
    with writing(store.engine) as connection:
        settled = review.adjudicate(connection, task, 3, Form(tiers=(0, 0, 1)))
    assert [done for _, done in places(store, task)] == [True, True] and take(store, project, 2) is None
    assert hand_in(store, number, 1, in_order(store, number, 1, 0, 1, 2)).late  # who was at work is not lost
    verdict(store, settled, "rejected")
    assert sorted(places(store, task), key=str) == [(1, True), (None, False)]


def test_adjudication_counts_instead_of_the_others(store: Store) -> None:
    _, second = labelled(store)
    with writing(store.engine) as connection:
        judge = rows.user(connection, "judge") or 0
        review.adjudicate(connection, second, judge, Form(tiers=(0, 0, 1)), "as the guideline says")
    with reading(store.engine) as connection:
        whole = review.task(connection, second)
    texts = {r.text for r in whole.responses}
    records = [r for r in store.records("helpful", "rankings") if isinstance(r, Ranking) and set(r.responses) <= texts]
    assert [(r.labeler, r.tiers) for r in records] == [("judge", (0, 0, 1))]
    assert {s.verdict for s in whole.annotations if s.labeler != "judge"} == {"rejected"}


def disputed(store: Store) -> tuple[int, int, int, list[int]]:
    """(project, a task, who settles it, assignments of ann and bob), who said opposite things of it."""
    project = a_project(store, num_prompts=1, overlap=2, people=("ann", "bob", "cid", "judge"))
    own = []
    for person, order in ((1, (0, 1, 2)), (2, (2, 1, 0))):
        number = take(store, project, person)
        assert number is not None
        hand_in(store, number, person, in_order(store, number, person, *order))
        own.append(number)
    with reading(store.engine) as connection:
        return project, queue.own_assignment(connection, own[0], 1).task_id, 4, own


def settle(store: Store, task: int, person: int, note: str = "") -> int:
    with writing(store.engine) as connection:
        return review.adjudicate(connection, task, person, Form(tiers=(0, 0, 1)), note)


def undo(store: Store, assignment: int, person: int) -> None:
    with writing(store.engine) as connection:
        submissions.undo(connection, assignment, person)


def who_trains(store: Store) -> list[str]:
    return sorted(r.labeler for r in store.records("helpful", "rankings") if isinstance(r, Ranking))


def test_settling_changes_no_figure_of_agreement(store: Store) -> None:
    project, task, judge, _ = disputed(store)

    def agreement() -> tuple[float | None, int, list[tuple[str, int]]]:
        with reading(store.engine) as connection:
            found = quality.quality(connection, projects.about(connection, project))
            people = review.task(connection, task).annotations
        assert quality.agreement_of(people, "overall") == found.agreement
        assert quality.is_settled(people) == any(s.settles for s in people)
        return found.agreement.value, found.agreement.num, [(w.name, w.submitted) for w in found.labelers]

    before = agreement()
    assert before == (0.0, 3, [("ann", 1), ("bob", 1)])
    settle(store, task, judge)
    assert agreement() == before
    with reading(store.engine) as connection:
        (anns, *_) = review.task(connection, task).annotations
    verdict(store, anns.annotation, "rejected", "nonsense")  # for itself
    assert agreement() == (None, 0, [("bob", 1)])


QUALITY = Question(name="quality", text="Quality", kind="scale", required=True)
TONE = Question(name="tone", text="Tone", kind="choice", choices=("kind", "cold"))


def rated_project(store: Store) -> int:
    """A project to rate two responses on `quality`. Ann and bob agree on it and on the tone; bob flags one response."""
    with writing(store.engine) as connection:
        questions = (QUALITY, TONE, Question(name="rude", text="Rude?"))
        settings = projects.read_settings({"kind": "rate", "overlap": 2})
        project = projects.create(connection, "helpful", settings, questions=questions)
        people = [rows.user(connection, name) or 0 for name in ("ann", "bob")]
        projects.set_members(connection, project, people)
    [prompt] = store.add_prompts("helpful", [Prompt(id="q", messages=(user("Question"),))])
    made = store.add_generations(prompt, [NewGeneration(text="a"), NewGeneration(text="b")])
    with writing(store.engine) as connection:
        queue.add_task(connection, project, prompt, "rate", made, overlap=2)
    for person in people:
        number = take(store, project, person)
        assert number is not None
        with reading(store.engine) as connection:
            spots = {r.text: spot for spot, r in enumerate(views.work(connection, number, person).responses)}
        answers = [Answered(question="quality", value=6 if text == "a" else 2, response=s) for text, s in spots.items()]
        answers += [Answered(question="tone", value="kind", response=spot) for spot in spots.values()]
        if person == people[1]:
            answers.append(Answered(question="rude", value=True, response=spots["b"]))
        hand_in(store, number, person, Form(answers=tuple(answers), said_no=True))
    return project


def test_a_no_counts_as_much_as_a_yes_and_any_main_scale_orders(store: Store) -> None:
    project = rated_project(store)
    with reading(store.engine) as connection:
        found = quality.quality(connection, projects.about(connection, project))
    assert (found.agreement.value, found.agreement.num) == (1.0, 1)
    agree = {q.question: (q.agree.value, q.agree.num) for q in found.questions}
    assert agree == {"quality": (1.0, 2), "tone": (1.0, 2), "rude": (0.5, 2)}  # both said no of the first response


def test_the_main_scale_is_that_of_the_app() -> None:
    def scale(name: str, required: bool = False) -> Question:
        return Question(name=name, text=name, kind="scale", required=required)

    about_prompt = Question(name="hard", text="Hard?", kind="scale", scope="prompt", required=True)
    assert main_scale((about_prompt, scale("helpful"), scale("overall"), scale("kind", required=True))) == "kind"
    assert main_scale((scale("helpful"), scale("overall"))) == "overall"
    assert main_scale((scale("helpful"), scale("kind"))) == "helpful"


def test_answers_that_a_question_of_another_kind_got_are_left_out(store: Store) -> None:
    project = rated_project(store)
    for kind in ("scale", "yes_no"):
        with writing(store.engine) as connection:
            tone = Question(name="tone", text="Tone", kind=kind)  # type: ignore[arg-type]
            projects.add_questionnaire(connection, project, (QUALITY, tone))
        with reading(store.engine) as connection:
            found = quality.quality(connection, projects.about(connection, project))
        [of_tone] = [q for q in found.questions if q.question == "tone"]
        assert of_tone.agree.num == 0
        assert found.agreement.num == 1


def test_nobody_said_no_to_what_was_not_asked_yet(store: Store) -> None:
    project = rated_project(store)
    with writing(store.engine) as connection:
        questions = (QUALITY, Question(name="rude", text="Rude?"), Question(name="long", text="Too long?"))
        projects.add_questionnaire(connection, project, questions)
    with reading(store.engine) as connection:
        found = quality.quality(connection, projects.about(connection, project)).questions
    assert {q.question: q.agree.num for q in found} == {"quality": 2, "rude": 2, "long": 0}


def test_nobody_else_changes_a_settled_task_and_late_work_is_set_aside(store: Store) -> None:
    project, task, judge, (anns, _) = disputed(store)
    with writing(store.engine) as connection:
        queue.widen(connection, task, 3)
    late = take(store, project, 3)
    assert late is not None
    settled = settle(store, task, judge, "see the guideline")
    with pytest.raises(ConflictError, match="a reviewer settled this task"):
        undo(store, anns, 1)
    form = in_order(store, late, 3, 2, 1, 0)
    done = hand_in(store, late, 3, form)
    assert (done.late, done.settled) == (True, True) and hand_in(store, late, 3, form) == done
    assert who_trains(store) == ["judge"]
    with reading(store.engine) as connection:
        assert submissions.rejections(connection, [late]) == {late: "adjudicated: see the guideline"}
    verdict(store, settled, "rejected", "too hasty")  # now theirs count, and may be changed again
    assert who_trains(store) == ["ann", "bob", "cid"]
    with reading(store.engine) as connection:
        assert submissions.rejections(connection, [anns, late]) == {}
    undo(store, anns, 1)
    hand_in(store, anns, 1, in_order(store, anns, 1, 1, 0, 2))
    verdict(store, settled, "accepted")
    assert who_trains(store) == ["judge"]


def test_who_settled_a_task_changes_it_and_nothing_is_lost_or_doubled(store: Store) -> None:
    project, task, judge, (anns, _) = disputed(store)
    with reading(store.engine) as connection:
        (_, bobs) = review.task(connection, task).annotations
    verdict(store, bobs.annotation, "rejected", "upside down")
    settle(store, task, judge)
    with reading(store.engine) as connection:
        _, (line,) = views.history(connection, project, judge)
        work = views.work(connection, line.assignment, judge)
    assert work.questionnaire is not None and work.guideline is not None
    undo(store, line.assignment, judge)
    assert who_trains(store) == ["ann"]  # as it was before: bob's was rejected for itself
    with reading(store.engine) as connection:
        verdicts = {s.labeler: (s.verdict, s.note) for s in review.task(connection, task).annotations}
    assert verdicts == {"ann": (None, ""), "bob": ("rejected", "upside down")}
    assert (1, True) in places(store, task) and (judge, False) in places(store, task)
    again = hand_in(store, line.assignment, judge, in_order(store, line.assignment, judge, 1, 0, 2))
    assert not again.late and not again.settled and who_trains(store) == ["judge"]
    assert all(done for _, done in places(store, task))
    with reading(store.engine) as connection:
        said = {s.labeler: (s.settles, s.verdict) for s in review.task(connection, task).annotations}
    assert said == {"ann": (False, "rejected"), "bob": (False, "rejected"), "judge": (True, None)}
    with pytest.raises(ConflictError, match="settled"):
        undo(store, anns, 1)


def test_the_newer_of_two_settlements_counts_until_it_is_taken_back(store: Store) -> None:
    project, task, judge, _ = disputed(store)
    settle(store, task, judge)
    settle(store, task, 3)
    assert who_trains(store) == ["cid"]
    with reading(store.engine) as connection:
        _, (line,) = views.history(connection, project, 3)
    undo(store, line.assignment, 3)
    assert who_trains(store) == ["judge"] and all(done for _, done in places(store, task))
    late = hand_in(store, line.assignment, 3, in_order(store, line.assignment, 3, 2, 1, 0))
    assert late.settled and who_trains(store) == ["judge"]


def test_signals_say_what_was_seen() -> None:
    def said(seconds: float, value: int) -> Said:
        form = Form(answers=tuple(Answered(question="overall", value=value, response=i) for i in range(4)))
        return Said(
            annotation=1, user=1, labeler="x", at=None, form=form, active_s=seconds, late=False, verdict=None, note=""
        )

    hasty = dict(quality.signals([said(2, 7)] * 12, 60.0, [True, False, False, False]))
    assert set(hasty) == {"gold", "fast", "same_answer"}
    assert hasty["gold"] == "meets 1 of 4 known answers"
    careful = [said(50 + i, 1 + i % 7) for i in range(12)]
    assert dict(quality.signals(careful, 60.0, [True] * 4)) == {}
    assert dict(quality.signals([said(2, 7)] * 5, 60.0, [])) == {}  # too few to say


# What to label next, and from prompts to tasks


def test_the_audit_slice_is_fair_and_the_rest_is_the_top() -> None:
    scores = {n: float(n) for n in range(1000)}
    found = choosing.pick(scores, 200, audit_share=0.25, seed=1, by="disagreement")
    audit = [p for p, why in found if why == "audit"]
    best = sorted(p for p, why in found if why == "disagreement")
    assert len(audit) == 50 and len(best) == 150 and len(dict(found)) == 200
    assert 350 < sum(audit) / 50 < 650  # of the whole, not of what the scores left
    assert min(best) >= 1000 - 200
    assert [p for p, _ in found] != sorted(p for p, _ in found)
    assert choosing.pick(scores, 200, audit_share=0.25, seed=1, by="disagreement") == found
    with pytest.raises(StoreError, match="prompt 1 is not a number"):
        choosing.pick({1: float("nan")}, 1, audit_share=0, seed=0, by="x")


class Blunt:
    """One member: scores a response by what its text says after the colon."""

    name = "blunt"

    def __init__(self, column: int = 0) -> None:
        self.column = column

    def score(self, items: Sequence[Scored]) -> list[float]:
        return [float(item.response.split(":")[1].split(",")[self.column]) for item in items]


class Second(Blunt):
    def __init__(self) -> None:
        super().__init__(1)


def test_what_to_label_is_chosen_by_reward_models(empty_database: Path, tmp_path: Path) -> None:
    workspace = init_workspace(tmp_path / "w")
    shutil.copy(empty_database, workspace.database)
    (tmp_path / "pair.toml").write_text('models = ["tests.test_quality:Blunt", "tests.test_quality:Second"]\n')
    with Store.open(workspace.database) as store:
        with writing(store.engine) as connection:
            projects.create(connection, "p", projects.read_settings({"num_responses": 2}))
        prompts = store.add_prompts("p", [Prompt(id=str(n), messages=(user(f"Q{n}"),)) for n in range(40)])
        for n, prompt in enumerate(prompts):  # members disagree about the last ones; new models rise on the first ones
            store.add_generations(prompt, [NewGeneration(text="old:0,0", model="sft")])
            store.add_generations(prompt, [NewGeneration(text=f"new:{40 - n},{40 - n - 2 * n}", model="ppo")])
        pair = str(tmp_path / "pair.toml")
        done = choose(workspace, "p", by="disagreement", num=10, reward=pair, audit_share=0.2)
        assert (done.picked, done.audit, done.candidates) == (8, 2, 40)
        with reading(store.engine) as connection:
            found = connection.execute(sa.select(Task.prompt_id, Task.picked)).tuples().all()
        assert min(p for p, why in found if why == "disagreement") > 28
        blunt = "tests.test_quality:Blunt"
        choose(workspace, "p", by="reward_rise", num=5, reward=blunt, since="sft", audit_share=0.0)
        with reading(store.engine) as connection:
            rose = connection.execute(sa.select(Task.prompt_id).where(Task.picked == "reward_rise")).scalars().all()
        assert max(rose) <= 7
        assert choose(workspace, "p", by="random", num=3).audit == 3
        with pytest.raises(ConfigError, match="one reward model alone"):
            choose(workspace, "p", by="disagreement", num=5, reward=blunt)
        with pytest.raises(DataError, match="no prompt has responses of 'base'"):
            choose(workspace, "p", by="reward_rise", num=5, reward=blunt, since="base")
        for by, reward in (("random", blunt), ("disagreement", None)):
            with pytest.raises(ConfigError, match="needs a reward model"):
                choose(workspace, "p", by=by, num=5, reward=reward)


def test_prompts_become_tasks_when_they_have_responses_enough(store: Store) -> None:
    with writing(store.engine) as connection:
        settings = projects.read_settings(
            {"num_responses": 2, "models": ["one", "two"], "overlap": 2, "system": "Be brief."}
        )
        project = projects.create(connection, "new", settings)
    ready, empty = store.add_prompts("new", [Prompt(id=str(n), messages=(user(f"Q{n}"),)) for n in range(2)])
    store.add_generations(ready, [NewGeneration(text="a"), NewGeneration(text="b"), NewGeneration(text="c")])
    with writing(store.engine) as connection:
        about = projects.about(connection, project)
        [lacking] = filling.lacking(connection, about, limit=10)
        assert filling.put_up(connection, about) == filling.PutUp(added=1, waiting=1)
        assert filling.put_up(connection, about) == filling.PutUp(added=0, waiting=1)
    assert (lacking.prompt, lacking.models, [m.role for m in lacking.messages]) == (
        empty,
        ("one", "two"),
        ["system", "user"],
    )
    store.add_generations(empty, [NewGeneration(text="x")])
    with reading(store.engine) as connection:
        assert filling.lacking(connection, about, limit=10)[0].models == ("two",)
