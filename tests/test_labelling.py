"""Labelling: slots are never held by two, drafts and late work survive, undo supersedes, and forms become the right parts."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from amenable.errors import ConflictError, StoreError
from amenable.feedback import erasing, lessons, projects, queue, review, submissions, views
from amenable.feedback.database import reading, writing
from amenable.feedback.forms import (
    DEFAULT_QUESTIONS,
    Answered,
    Form,
    Question,
    parts_of,
    read_form,
    read_questions,
    reordered,
)
from amenable.feedback.parts import Compared, Edited, Flagged, Ranked, Rated, Remarked, Written
from amenable.feedback.projects import Settings
from amenable.feedback.store import FEEDBACK_KINDS, NewGeneration, Store
from amenable.feedback.tables import Annotation, Assignment, Slot, now
from amenable.types import Comparison, Label, Prompt, Ranking, user

from .feedback_stores import cluster, empty_database, migrated, sqlite_url, store, url

__all__ = ["cluster", "empty_database", "migrated", "sqlite_url", "store", "url"]

SHOWN = (11, 12, 13)


def a_project(store: Store, num_prompts: int = 2, people: tuple[str, ...] = ("ann", "bob"), **settings: object) -> int:
    """A project with tasks to rank three responses each; its members have the numbers 1, 2, ..."""
    with writing(store.engine) as connection:
        chosen = projects.read_settings({"num_responses": 3, **settings})
        project = projects.create(connection, "helpful", chosen, guideline="Be *kind*.")
        from amenable.feedback import rows

        members = [rows.user(connection, name) or 0 for name in people]
        projects.set_members(connection, project, members)
    prompts = [Prompt(id=f"q{i}", messages=(user(f"Question {i}"),)) for i in range(num_prompts)]
    for number in store.add_prompts("helpful", prompts):
        made = store.add_generations(number, [NewGeneration(text=f"{number}{x}", model=f"m{x}") for x in "abc"])
        with writing(store.engine) as connection:
            queue.add_task(connection, project, number, chosen.kind, made, overlap=chosen.overlap)
    return project


def take(store: Store, project: int, person: int) -> int | None:
    with writing(store.engine) as connection:
        return queue.next_assignment(connection, projects.about(connection, project), person)


def ranked(*tiers: int | None) -> Form:
    spots = [i for i, tier in enumerate(tiers) if tier is not None]
    return Form(tiers=tiers, answers=tuple(Answered(question="overall", value=4, response=i) for i in spots))


def hand_in(store: Store, assignment: int, person: int, form: Form, active_s: float = 3.0) -> submissions.Submitted:
    with writing(store.engine) as connection:
        return submissions.submit(connection, queue.own_assignment(connection, assignment, person), form, active_s)


def expire(store: Store) -> None:
    with writing(store.engine) as connection:
        past = now() - timedelta(seconds=1)
        connection.execute(sa.update(Slot).where(Slot.expires_at.is_not(None)).values(expires_at=past))


# Forms


@pytest.mark.parametrize(
    ("kind", "form", "part"),
    [
        ("rank", ranked(1, 0, 1), Ranked(generations=SHOWN, tiers=(1, 0, 1))),
        ("rank", ranked(1, None, 0), Ranked(generations=(11, 13), tiers=(1, 0))),
        ("compare", Form(strength=-3), Compared(chosen=11, rejected=12, strength=3.0)),
        ("compare", Form(strength=4), Compared(chosen=12, rejected=11, strength=4.0)),
        ("compare", Form(strength=0), Ranked(generations=(11, 12), tiers=(0, 0))),
        ("label", Form(labels=(None, False, True)), Flagged(generation=12, question="good", yes=False)),
        ("demonstrate", Form(text="Hello"), Written(text="Hello")),
        ("edit", Form(text="Hello!", edited=2), Edited(generation=13, text="Hello!")),
    ],
)
def test_a_form_becomes_its_part(kind: str, form: Form, part: object) -> None:
    shown = SHOWN[:2] if kind == "compare" else SHOWN
    assert parts_of(form, kind, shown, DEFAULT_QUESTIONS)[0] == part


def test_answers_become_ratings_flags_and_remarks() -> None:
    form = Form(
        tiers=(0, 1, 2),
        answers=(
            *(Answered(question="overall", value=5, response=i) for i in range(3)),
            Answered(question="sexual", value=True, response=1),
            Answered(question="ambiguous", value=True),
        ),
        said_no=True,
        remark="odd",
    )
    parts = parts_of(form, "rank", SHOWN, DEFAULT_QUESTIONS)
    assert [p.score for p in parts if isinstance(p, Rated)] == [5.0] * 3
    flags = [p for p in parts if isinstance(p, Flagged) and p.generation is not None]
    assert [(p.generation, p.question) for p in flags if p.yes] == [(12, "sexual")]
    assert len(flags) == 3 * 11  # a no to all else of the list
    assert Flagged(generation=None, question="ambiguous", yes=True) in parts
    assert Remarked(generation=None, question="remark", text="odd") in parts


def test_a_list_handed_in_as_complete_answers_required_questions() -> None:
    questions = (
        Question(name="safe", text="Safe?", required=True),
        Question(name="clear", text="Clear?", scope="prompt", required=True),
        Question(name="hard", text="Hard?", kind="scale", scope="prompt", required=True),
    )
    form = Form(tiers=(0, 1, 2), answers=(Answered(question="hard", value=3),))
    with pytest.raises(StoreError, match="'safe' is not answered for response 1"):
        parts_of(form, "rank", SHOWN, questions)
    parts = parts_of(form.replace(said_no=True), "rank", SHOWN, questions)
    assert Remarked(generation=None, question="hard", text="3") in parts
    assert [p for p in parts if isinstance(p, Flagged)] == [
        Flagged(generation=g, question="safe", yes=False) for g in SHOWN
    ]
    with pytest.raises(StoreError, match="'hard' is not answered for the prompt"):
        parts_of(Form(tiers=(0, 1, 2), said_no=True), "rank", SHOWN, questions)


def test_what_cannot_be_ranked_says_why() -> None:
    parts = parts_of(Form(cannot_rank="all the same language that I cannot read"), "rank", SHOWN, DEFAULT_QUESTIONS)
    assert parts[0] == Flagged(generation=None, question="cannot_rank", yes=True)
    assert isinstance(parts[1], Remarked) and "cannot read" in parts[1].text


@pytest.mark.parametrize(
    ("kind", "form", "words"),
    [
        ("rank", Form(), "0 tiers are given for 3"),
        ("rank", ranked(0, None, None), "fewer than two"),
        ("rank", Form(tiers=(0, 1, 2)), "'overall' is not answered for response 1"),
        ("rank", ranked(0, 1, 2).replace(cannot_rank="x"), "ranks and says that it cannot"),
        ("compare", Form(), "not said which"),
        ("compare", Form(strength=1, tiers=(0,)), "1 tiers are given for 3"),
        ("rate", Form(labels=(True,) * 4), "4 labels are given for 3"),
        ("demonstrate", Form(text="Hello", edited=3), "no response at position 3"),
        ("label", Form(labels=(None, None, None)), "nothing is labelled"),
        ("rate", Form(), "no response is rated"),
        ("rank", Form(tiers=(0, 1, 2), answers=(Answered(question="overal", value=1, response=0),)), "did you mean"),
        ("rate", Form(answers=(Answered(question="overall", value=True, response=0),)), "is no answer"),
        ("rate", Form(answers=(Answered(question="overall", value=5, response=7),)), "no response at position 7"),
        ("rate", Form(answers=(Answered(question="overall", value=5),)), "asked about the response"),
        ("rate", Form(answers=(Answered(question="overall", value=5, response=0),) * 2), "answered twice"),
    ],
)
def test_a_form_that_cannot_be_is_refused(kind: str, form: Form, words: str) -> None:
    with pytest.raises(StoreError, match=words):
        parts_of(form, kind, SHOWN, DEFAULT_QUESTIONS)


@pytest.mark.parametrize("after", [SHOWN, SHOWN[::-1]])
def test_what_a_stored_form_says_of_responses_that_there_are_not_is_left_out(after: tuple[int, ...]) -> None:
    stored = Form(strength=1, tiers=(0,), labels=(True,) * 4, edited=3)
    assert reordered(stored, SHOWN, after) == Form(strength=1 if after == SHOWN else -1)


def test_forms_and_questionnaires_are_checked_when_read() -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        read_form({"tiers": [0, 99]})
    with pytest.raises(StoreError, match="cannot be read"):
        read_form({"ranks": [0]})
    for questions, words in (
        ([{"name": "a", "text": "A"}] * 2, "two questions have the name"),
        ([{"name": "a", "text": "A", "kind": "scale", "low": 3, "high": 3}], "scale"),
        ([{"name": "a", "text": "A", "kind": "choice", "choices": ["x"]}], "no choice"),
        ([{"name": "remark", "text": "A"}], "cannot be named"),
        ([{"name": n, "text": n, "key": key} for n, key in (("a", "x"), ("b", "X"))], "two questions have the key 'x'"),
        ([{"name": "a", "text": "A", "key": "1"}], "cannot have the key '1'"),
    ):
        with pytest.raises(StoreError, match=words):
            read_questions(questions)
    assert read_questions([{"name": "a", "text": "A"}]) == (Question(name="a", text="A"),)


# Leases


def test_work_is_blind_and_shuffled_and_stays_the_same(store: Store) -> None:
    project = a_project(store, num_prompts=8)
    orders = set()
    for _ in range(8):
        number = take(store, project, 1)
        assert number is not None and take(store, project, 1) == number  # held already
        with reading(store.engine) as connection:
            work = views.work(connection, number, 1)
        assert b"model" not in work.to_json() and b'"m' + b'a"' not in work.to_json()
        assert work.guideline is not None and work.guideline.markdown == "Be *kind*."
        assert work.questionnaire is not None and work.questionnaire.questions == DEFAULT_QUESTIONS
        orders.add("".join(r.text[-1] for r in work.responses))
        hand_in(store, number, 1, ranked(0, 1, 2))
    assert len(orders) > 2 and all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert take(store, project, 1) is None


def test_what_was_ranked_is_what_was_shown(store: Store) -> None:
    project = a_project(store, num_prompts=6)
    for _ in range(6):
        number = take(store, project, 1)
        assert number is not None
        with reading(store.engine) as connection:
            texts = [r.text for r in views.work(connection, number, 1).responses]
        hand_in(store, number, 1, ranked(*(ord(text[-1]) - ord("a") for text in texts)))
    for record in store.records("helpful", "rankings"):
        assert isinstance(record, Ranking)
        assert [ord(r[-1]) - ord("a") for r in record.responses] == list(record.tiers)
        assert record.labeler == "ann"


def test_each_slot_has_one_holder_and_each_person_one_slot_of_a_task(store: Store) -> None:
    project = a_project(store, num_prompts=1, overlap=2, people=("ann", "bob", "cid"))
    first, second = take(store, project, 1), take(store, project, 2)
    assert first != second and take(store, project, 3) is None
    expire(store)
    third = take(store, project, 3)  # one of the expired places
    assert third is not None
    assert take(store, project, 2) == second or take(store, project, 1) == first
    with reading(store.engine) as connection:
        holders = list(connection.execute(sa.select(Slot.user_id)).scalars())
    assert len(set(holders)) == 2 and 3 in holders


def test_many_people_at_once_are_never_given_the_same_place(store: Store) -> None:
    people = tuple(f"p{i}" for i in range(8))
    project = a_project(store, num_prompts=8, overlap=3, people=people)
    errors: list[BaseException] = []

    def labeler(person: int) -> None:
        try:
            while (number := take(store, project, person)) is not None:
                hand_in(store, number, person, ranked(0, 1, 2))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=labeler, args=(n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with reading(store.engine) as connection:
        slots = connection.execute(sa.select(Slot.task_id, Slot.user_id, Slot.done)).all()
        annotations = connection.execute(sa.select(sa.func.count()).select_from(Annotation)).scalar()
        late = connection.execute(sa.select(sa.func.count()).where(Assignment.late)).scalar()
    assert len(slots) == 24 and all(slot.done for slot in slots) and len({(s.task_id, s.user_id) for s in slots}) == 24
    assert (annotations, late) == (24, 0)


def test_the_tables_refuse_two_holders_whatever_the_code_does(store: Store) -> None:
    project = a_project(store, num_prompts=1, overlap=2)
    take(store, project, 1)
    with pytest.raises(sa.exc.IntegrityError), writing(store.engine) as connection:
        connection.execute(sa.update(Slot).where(Slot.user_id.is_(None)).values(user_id=1))


# Drafts, late work, undo, skip


def test_a_draft_outlives_its_lease(store: Store) -> None:
    project = a_project(store, num_prompts=1)
    number = take(store, project, 1)
    assert number is not None
    with writing(store.engine) as connection:
        assert queue.save_draft(connection, number, 1, ranked(0, None, None), 9.0)
    expire(store)
    assert take(store, project, 1) == number
    with reading(store.engine) as connection:
        work = views.work(connection, number, 1)
    assert work.form == ranked(0, None, None) and work.active_s == 9.0 and work.expires_at is not None


def test_late_work_is_kept(store: Store) -> None:
    project = a_project(store, num_prompts=1)
    mine = take(store, project, 1)
    expire(store)
    theirs = take(store, project, 2)
    assert mine is not None and theirs is not None
    with writing(store.engine) as connection:
        assert not queue.save_draft(connection, mine, 1, ranked(0, 1, None), 1.0)
    assert not hand_in(store, theirs, 2, ranked(0, 1, 2)).late
    assert hand_in(store, mine, 1, ranked(2, 1, 0)).late
    assert {r.labeler for r in store.records("helpful", "rankings")} == {"ann", "bob"}


def test_late_work_takes_a_place_that_is_still_free(store: Store) -> None:
    project = a_project(store, num_prompts=1)
    mine = take(store, project, 1)
    assert mine is not None
    expire(store)
    assert not hand_in(store, mine, 1, ranked(0, 1, 2)).late
    assert take(store, project, 2) is None


def test_handing_in_twice_is_answered_twice_and_stored_once(store: Store) -> None:
    project = a_project(store)
    number = take(store, project, 1)
    assert number is not None
    first = hand_in(store, number, 1, ranked(0, 1, 2))
    assert hand_in(store, number, 1, ranked(0, 1, 2)) == first
    with pytest.raises(ConflictError, match="undo it first"):
        hand_in(store, number, 1, ranked(2, 1, 0))
    assert len(list(store.records("helpful", "rankings"))) == 1


def test_undo_supersedes_and_gives_the_draft_back(store: Store) -> None:
    project = a_project(store, num_prompts=1)
    number = take(store, project, 1)
    assert number is not None
    first = hand_in(store, number, 1, ranked(0, 1, 2))
    before = store.snapshot("helpful", "rankings").hash
    with writing(store.engine) as connection:
        submissions.undo(connection, number, 1)
    assert list(store.records("helpful", "rankings")) == []
    assert take(store, project, 1) == number and take(store, project, 2) is None
    with reading(store.engine) as connection:
        assert views.work(connection, number, 1).form == ranked(0, 1, 2)
    second = hand_in(store, number, 1, ranked(2, 1, 0))
    assert second.annotation > first.annotation
    [now_said] = store.records("helpful", "rankings")
    [said_then] = store.snapshot_records(before)
    assert isinstance(now_said, Ranking) and isinstance(said_then, Ranking)
    assert (said_then.tiers, now_said.tiers) == ((0, 1, 2), (2, 1, 0))
    with reading(store.engine) as connection:
        chain = connection.execute(sa.select(Annotation.id, Annotation.supersedes_id).order_by(Annotation.id)).all()
    assert [c.supersedes_id for c in chain] == [None, chain[0].id, chain[1].id]


def test_a_skipped_task_goes_to_others_and_can_be_taken_back(store: Store) -> None:
    project = a_project(store, num_prompts=1)
    number = take(store, project, 1)
    assert number is not None
    with pytest.raises(StoreError, match="needs a reason"), writing(store.engine) as connection:
        submissions.skip(connection, number, 1, " ")
    with writing(store.engine) as connection:
        submissions.skip(connection, number, 1, "too long")
    assert take(store, project, 1) is None
    with writing(store.engine) as connection:
        submissions.undo(connection, number, 1)
    assert take(store, project, 1) == number and take(store, project, 2) is None


def test_nobody_touches_the_work_of_others(store: Store) -> None:
    project = a_project(store)
    number = take(store, project, 1)
    assert number is not None
    for act in (
        lambda c: queue.save_draft(c, number, 2, Form(), 0.0),
        lambda c: submissions.skip(c, number, 2, "x"),
        lambda c: submissions.undo(c, number, 2),
        lambda c: views.work(c, number, 2),
    ):
        with pytest.raises(StoreError, match="you have no assignment"), writing(store.engine) as connection:
            act(connection)


def test_a_refused_form_changes_nothing(store: Store) -> None:
    project = a_project(store)
    number = take(store, project, 1)
    assert number is not None
    with pytest.raises(StoreError):
        hand_in(store, number, 1, Form(tiers=(0, 1)))
    with reading(store.engine) as connection:
        assert views.work(connection, number, 1).state == "open"
        assert connection.execute(sa.select(sa.func.count()).select_from(Annotation)).scalar() == 0


# Training and gold items


def known(store: Store, task: int, purpose: str, form: Form) -> None:
    with writing(store.engine) as connection:
        lessons.make_known(connection, task, 2, purpose, form, "The **first** is true.")


def in_order(store: Store, number: int, person: int, *tiers: int) -> Form:
    """A ranking given in the order of the task's responses (a, b, c), as this person sees them."""
    with reading(store.engine) as connection:
        texts = [r.text for r in views.work(connection, number, person).responses]
    return ranked(*(tiers["abc".index(text[-1])] for text in texts))


def test_training_items_come_first_and_are_explained(store: Store) -> None:
    project = a_project(store, num_prompts=3, training_pass=0.5)
    known(store, 3, "training", Form(tiers=(0, 1, 2)))
    number = take(store, project, 1)
    assert number is not None
    with reading(store.engine) as connection:
        assert views.work(connection, number, 1).phase == "training"
    done = hand_in(store, number, 1, in_order(store, number, 1, 2, 1, 0))
    assert done.lesson is not None and not done.lesson.passed and len(done.lesson.mistakes) == 3
    assert done.lesson.answer.tiers == in_order(store, number, 1, 0, 1, 2).tiers
    assert done.lesson.explanation == "The **first** is true."
    assert take(store, project, 1) is None  # half of the items must be met
    with pytest.raises(ConflictError, match="its answer was shown"), writing(store.engine) as connection:
        submissions.undo(connection, number, 1)
    theirs = take(store, project, 2)
    assert theirs is not None
    met = hand_in(store, theirs, 2, in_order(store, theirs, 2, 0, 1, 1)).lesson
    assert met is not None and met.passed
    assert take(store, project, 2) is not None
    assert list(store.records("helpful", "rankings")) == []  # nobody trains on them


def test_gold_items_look_like_work_and_are_not_trained_on(store: Store) -> None:
    project = a_project(store, num_prompts=8, gold_share=0.5)
    known(store, 8, "gold", Form(tiers=(0, 1, 2)))
    seen = 0
    while (number := take(store, project, 1)) is not None:
        with reading(store.engine) as connection:
            work = views.work(connection, number, 1)
            assert work.phase == "work"
        done = hand_in(store, number, 1, in_order(store, number, 1, 0, 1, 2))
        assert done.lesson is None
        seen += 1
    assert seen == 8
    assert len(list(store.records("helpful", "rankings"))) == 7
    with reading(store.engine) as connection:
        assert list(lessons.passed_of(connection, project, 1, "gold").values()) == [True]
        assert views.own_figures(connection, project, 1).gold_total == 0  # not before a day has passed


@pytest.mark.parametrize("purpose", ["training", "gold"])
def test_items_whose_prompt_was_erased_are_given_to_nobody(store: Store, purpose: str) -> None:
    project = a_project(store, num_prompts=2, training_pass=1.0, gold_share=0.5)
    known(store, 1, purpose, Form(tiers=(0, 1, 2)))
    if purpose == "training":
        begun = take(store, project, 1)  # ann has begun the item, bob not
        with reading(store.engine) as connection:
            assert begun is not None and queue.own_assignment(connection, begun, 1).task_id == 1
    with writing(store.engine) as connection:
        erasing.erase_prompts(connection, [1])
    with reading(store.engine) as connection:
        about = projects.about(connection, project)
        assert (about.num_training, about.num_gold) == (0, 0)
    for person in (1, 2):
        given = []
        while (number := take(store, project, person)) is not None:
            with reading(store.engine) as connection:
                given.append(queue.own_assignment(connection, number, person).task_id)
            with writing(store.engine) as connection:
                submissions.skip(connection, number, person, "on to the next")
        assert given == [2]
    with writing(store.engine) as connection:
        lessons.make_ordinary(connection, 1)
    assert take(store, project, 1) is None and take(store, project, 2) is None


def test_nothing_opens_a_task_again_whose_prompt_was_erased(store: Store) -> None:
    project = a_project(store, num_prompts=1, overlap=2)
    number = take(store, project, 1)
    assert number is not None
    done = hand_in(store, number, 1, ranked(0, 1, 2))
    with writing(store.engine) as connection:
        erasing.erase_prompts(connection, [1])
    for verdict in ("accepted", "rejected"):
        with writing(store.engine) as connection:
            review.decide(connection, done.annotation, 2, verdict)  # type: ignore[arg-type]
        assert take(store, project, 2) is None and take(store, project, 1) is None
    with pytest.raises(ConflictError, match="was erased"), writing(store.engine) as connection:
        submissions.undo(connection, number, 1)


def test_progress_counts_slots_and_ones_own(store: Store) -> None:
    project = a_project(store, num_prompts=3, overlap=2)
    for _ in range(2):
        number = take(store, project, 1)
        assert number is not None
        hand_in(store, number, 1, ranked(0, 1, 2), active_s=20.0)
    with reading(store.engine) as connection:
        about = projects.about(connection, project)
        mine, theirs = views.progress(connection, about, 1), views.progress(connection, about, 2)
        total, lines = views.history(connection, project, 1, limit=1)
        own = views.own_figures(connection, project, 1)
    assert (mine.today, mine.mine, mine.done, mine.total, mine.waiting) == (2, 2, 2, 6, 1)
    assert (theirs.mine, theirs.waiting) == (0, 3)
    assert total == 2 and len(lines) == 1 and lines[0].prompt.startswith("Question")
    assert (own.submitted, own.median_s, own.active_s) == (2, 20.0, 40.0)


def test_what_somebody_holds_waits_for_them(store: Store) -> None:
    project = a_project(store, num_prompts=1)
    number = take(store, project, 1)
    assert number is not None

    def waiting() -> list[int]:
        with reading(store.engine) as connection:
            about = projects.about(connection, project)
            return [views.progress(connection, about, person).waiting for person in (1, 2)]

    assert waiting() == [1, 0]
    hand_in(store, number, 1, ranked(0, 1, 2))
    assert waiting() == [0, 0]


def test_a_new_version_is_asked_of_those_who_begin_later(store: Store) -> None:
    project = a_project(store, num_prompts=1, overlap=2)
    first = take(store, project, 1)
    with writing(store.engine) as connection:
        projects.add_guideline(connection, project, "Be brief.")
        projects.add_questionnaire(connection, project, [Question(name="kind", text="Kind?")])
    second = take(store, project, 2)
    assert first is not None and second is not None
    with reading(store.engine) as connection:
        old, new = views.work(connection, first, 1), views.work(connection, second, 2)
    assert old.questionnaire is not None and new.questionnaire is not None and new.guideline is not None
    assert (old.questionnaire.version, new.questionnaire.version, new.guideline.markdown) == (1, 2, "Be brief.")
    hand_in(store, first, 1, ranked(0, 1, 2))
    hand_in(store, second, 2, Form(tiers=(0, 1, 2)))  # nothing is required any more


def test_a_label_answers_the_question_that_its_task_was_made_with(store: Store) -> None:
    project = a_project(store, num_prompts=2, kind="label", label_question="good")
    number, other = take(store, project, 1), take(store, project, 2)
    assert number is not None and other is not None
    with writing(store.engine) as connection:
        projects.set_settings(connection, project, Settings(kind="label", label_question="harmful"))
    with reading(store.engine) as connection:
        assert views.work(connection, number, 1).label_question == "good"
        second = queue.own_assignment(connection, other, 2).task_id
    hand_in(store, number, 1, Form(labels=(True, None, None)))
    with writing(store.engine) as connection:
        review.adjudicate(connection, second, 1, Form(labels=(False, None, None)))
        queue.add_task(connection, project, 1, "label", [1, 2, 3])
    last = take(store, project, 2)
    assert last is not None
    hand_in(store, last, 2, Form(labels=(None, True, None)))
    found = [(r.name, r.label) for r in store.records("helpful", "labels") if isinstance(r, Label)]
    assert found == [("good", True), ("good", False), ("harmful", True)]


def test_projects_say_what_is_wrong(store: Store) -> None:
    a_project(store)
    with writing(store.engine) as connection:
        with pytest.raises(StoreError, match="already a project named 'helpful'"):
            projects.create(connection, "helpful", Settings())
        with pytest.raises(StoreError, match="cannot be so"):
            projects.read_settings({"num_responses": 10})
        with pytest.raises(StoreError, match="no person number 99"):
            projects.set_members(connection, 1, [99])
        with pytest.raises(StoreError, match="shows 2 responses, not 3"):
            queue.add_task(connection, 1, 1, "compare", [1, 2, 3])
        with pytest.raises(StoreError, match="not all of the responses"):
            queue.add_task(connection, 1, 1, "rank", [1, 2, 4])


@pytest.mark.parametrize(
    ("kind", "form", "records"),
    [
        ("rank", ranked(0, 1, 1), {"rankings": 1, "comparisons": 2, "ratings": 3}),
        ("compare", Form(strength=-4), {"comparisons": 1}),
        ("label", Form(labels=(True, False, None)), {"labels": 2}),
        ("demonstrate", Form(text="Hello"), {"demonstrations": 1}),
        ("edit", Form(text="Hello", edited=1), {"demonstrations": 1, "comparisons": 1}),
    ],
)
def test_what_is_handed_in_is_what_trains(store: Store, kind: str, form: Form, records: dict[str, int]) -> None:
    project = a_project(store, num_prompts=0)
    [prompt] = store.add_prompts("helpful", [Prompt(id="p", messages=(user("Hi"),))])
    _, high = queue.RESPONSES[kind]
    made = store.add_generations(prompt, [NewGeneration(text=x) for x in "abc"[: min(high, 3)]])
    with writing(store.engine) as connection:
        queue.add_task(connection, project, prompt, kind, made)  # type: ignore[arg-type]
    number = take(store, project, 1)
    assert number is not None
    hand_in(store, number, 1, form)
    found = {kind: len(list(store.records("helpful", kind))) for kind in FEEDBACK_KINDS if kind != "prompts"}
    assert {kind: count for kind, count in found.items() if count} == records
    for record in store.records("helpful", "comparisons"):
        assert isinstance(record, Comparison)
        assert record.margin == (4.0 if kind == "compare" else None)
