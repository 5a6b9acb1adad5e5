"""People as the reward: rollouts become tasks, the run waits or parks, and goes on bit for bit when they are answered."""

from __future__ import annotations

import threading
import time

import pytest

from amenable.config.folder import WorkspaceFolder
from amenable.errors import ConfigError, ParkedError, StoreError
from amenable.feedback import projects, purge, queue, review, rows, submissions, views
from amenable.feedback.database import reading, writing
from amenable.feedback.forms import Answered, Form
from amenable.feedback.store import Store
from amenable.rewards.load import People, load_reward
from amenable.rewards.people import Config, PeopleReward, _groups
from amenable.stages.resume import resume
from amenable.types import Scored, user

from .stage_makers import Toys, assert_same_run, start, toys, workspace
from .stage_makers import rows as logged

__all__ = ["toys", "workspace"]
HI, BYE = (user("Hi"),), (user("Bye"),)


def opened(workspace: WorkspaceFolder) -> Store:
    store = Store.open(workspace.database)
    with writing(store.engine) as connection:
        projects.create(connection, "judges", projects.read_settings({"label_question": "good"}), questions=[])
        rows.user(connection, "ann"), rows.user(connection, "bob")
    return store


def answer_all(store: Store, person: int = 1) -> int:
    """Do all that is open: longer responses are better."""
    done = 0
    while True:
        with writing(store.engine) as connection:
            about = projects.about(connection, 1)
            number = queue.next_assignment(connection, about, person)
            if number is None:
                return done
            work = views.work(connection, number, person)
            lengths = [len(r.text) for r in work.responses]
            if work.kind == "label":
                form = Form(labels=(lengths[0] % 2 == 0,))
            elif work.kind == "rank":
                form = Form(tiers=tuple(sorted(set(lengths), reverse=True).index(n) for n in lengths))
            else:
                form = Form(answers=(Answered(question="overall", value=min(7, lengths[0]), response=0),))
            submissions.submit(connection, queue.own_assignment(connection, number, person), form, 1.0)
            done += 1


def reward(workspace: WorkspaceFolder, **options: object) -> PeopleReward:
    config = Config(poll_s=0.01, wait_minutes=0.0).replace(**options)
    return PeopleReward(workspace.database, "judges", config)


ITEMS = [Scored(prompt=p, response=r) for p, r in ((HI, "a"), (BYE, "four"), (HI, "bbb"), (HI, ""), (HI, "cc"))]


@pytest.mark.parametrize(
    ("ask", "scores", "tasks"),
    [
        ("label", [0.0, 1.0, 0.0, 0.0, 1.0], 4),
        ("rank", [1 / 3, 0.5, 1.0, 0.0, 2 / 3], 1),
    ],  # the one response to "Bye" is alone
)
def test_scores_are_what_was_said(workspace: WorkspaceFolder, ask: str, scores: list[float], tasks: int) -> None:
    with opened(workspace) as store:
        people = reward(workspace, ask=ask)
        with pytest.raises(ParkedError, match=f"{tasks} of {tasks} tasks are not answered"):
            people.score(ITEMS)
        assert answer_all(store) == tasks
        assert people.score(ITEMS) == pytest.approx(scores)
        assert people.score(ITEMS) == pytest.approx(scores)  # nobody is asked twice
        assert answer_all(store) == 0
        kinds = {"label": "labels", "rank": "rankings"}
        assert len(list(store.records("judges", kinds[ask]))) == tasks  # which trains a reward model, too


def test_ratings_of_several_people_are_averaged(workspace: WorkspaceFolder) -> None:
    with opened(workspace) as store:
        with writing(store.engine) as connection:
            projects.add_questionnaire(connection, 1, projects.DEFAULT_QUESTIONS)
        people = reward(workspace, ask="rate", overlap=2)
        with pytest.raises(ParkedError):
            people.score(ITEMS[:2])
        answer_all(store, 1)
        with pytest.raises(ParkedError, match="2 of 2"):
            people.score(ITEMS[:2])
        answer_all(store, 2)
        assert people.score(ITEMS[:2]) == [1.0, 4.0]


def said_first(store: Store, task: int) -> int:
    """The annotation that was handed in first about a task."""
    with reading(store.engine) as connection:
        return review.said_of(connection, [task])[task][0].annotation


def test_what_is_rejected_is_asked_for_again(workspace: WorkspaceFolder) -> None:
    people = reward(workspace)
    with opened(workspace) as store:
        with pytest.raises(ParkedError) as asked:
            people.score(ITEMS)
        answer_all(store, 1)
        before = people.score(ITEMS)
        with writing(store.engine) as connection:
            review.decide(connection, said_first(store, asked.value.tasks[0]), 2, "rejected", "look again")
        with pytest.raises(ParkedError, match="1 of 4 tasks") as again:
            people.score(ITEMS)
        assert again.value.tasks == asked.value.tasks[:1]
        assert answer_all(store, 2) == 1 and people.score(ITEMS) == before
        with writing(store.engine) as connection:
            purge.purge(connection, 2)
        with pytest.raises(ParkedError, match="1 of 4 tasks"):  # whoever is erased is no reward any more
            people.score(ITEMS)
        assert answer_all(store, 1) == 1 and people.score(ITEMS) == before  # nobody else is there to do it


def test_a_reviewers_answer_is_enough_for_many(workspace: WorkspaceFolder) -> None:
    people = reward(workspace, overlap=3)
    with opened(workspace) as store:
        with pytest.raises(ParkedError) as asked:
            people.score(ITEMS[:1])
        answer_all(store, 1)
        with writing(store.engine) as connection:
            review.adjudicate(connection, asked.value.tasks[0], 2, Form(labels=(True,)))
        assert people.score(ITEMS[:1]) == [1.0] and answer_all(store, 1) == 0
        assert reward(workspace, overlap=4).score(ITEMS[:1]) == [1.0]
        with reading(store.engine) as connection:
            assert queue.places(connection, 1) == queue.Places(total=4, done=4, open=0)


def test_what_everybody_skipped_waits_for_a_reviewer(workspace: WorkspaceFolder) -> None:
    people = reward(workspace)
    with opened(workspace) as store:
        with pytest.raises(ParkedError) as asked:
            people.score(ITEMS[:1])
        with writing(store.engine) as connection:
            for person in (1, 2):
                number = queue.next_assignment(connection, projects.about(connection, 1), person)
                assert number is not None
                submissions.skip(connection, number, person, "I cannot tell")
        assert answer_all(store, 1) == answer_all(store, 2) == 0
        with writing(store.engine) as connection:
            review.adjudicate(connection, asked.value.tasks[0], 1, Form(labels=(True,)))
        assert people.score(ITEMS[:1]) == [1.0]


def test_what_is_undone_is_waited_for(workspace: WorkspaceFolder) -> None:
    people = reward(workspace)
    with opened(workspace) as store:
        with pytest.raises(ParkedError):
            people.score(ITEMS[:1])
        answer_all(store, 1)
        with writing(store.engine) as connection:
            submissions.undo(connection, 1, 1)
        with pytest.raises(ParkedError):
            people.score(ITEMS[:1])
        assert answer_all(store, 2) == 0 and answer_all(store, 1) == 1 and people.score(ITEMS[:1]) == [0.0]


def test_what_cannot_be_ranked_is_all_equal(workspace: WorkspaceFolder) -> None:
    people = reward(workspace, ask="rank")
    with opened(workspace) as store:
        with pytest.raises(ParkedError):
            people.score([ITEMS[0], ITEMS[2]])
        with writing(store.engine) as connection:
            number = queue.next_assignment(connection, projects.about(connection, 1), 1)
            row = queue.own_assignment(connection, number or 0, 1)
            submissions.submit(connection, row, Form(cannot_rank="both are nonsense"), 1.0)
        assert people.score([ITEMS[0], ITEMS[2]]) == [0.5, 0.5]


def test_nobody_is_left_alone_of_several() -> None:
    for number in range(2, 40):
        found = list(_groups([Scored(prompt=HI, response=str(i)) for i in range(number)], together=True))
        sizes = [len(group) for group in found]
        assert [spot for group in found for spot in group] == list(range(number)) and len(sizes) == -(-number // 9)
        assert min(sizes) >= 2 and max(sizes) <= min(9, min(sizes) + 1)


def test_one_alone_cannot_be_ranked(workspace: WorkspaceFolder, toys: Toys) -> None:
    opened(workspace).close()
    assert reward(workspace, ask="rank").score([ITEMS[0], ITEMS[1].replace(response=" ")]) == [0.5, 0.0]
    mapping = toys.mapping("ppo", "reward=people:judges", "reward_options.ask=rank")
    with pytest.raises(ConfigError, match="cannot rank a single response"):
        start("ppo", mapping, workspace, "alone")


def test_more_people_may_be_asked_later(workspace: WorkspaceFolder) -> None:
    with opened(workspace) as store:
        with pytest.raises(ParkedError):
            reward(workspace).score(ITEMS[:1])
        answer_all(store, 1)
        assert reward(workspace).score(ITEMS[:1]) == [0.0]
        with pytest.raises(ParkedError):
            reward(workspace, overlap=2).score(ITEMS[:1])
        assert answer_all(store, 1) == 0 and answer_all(store, 2) == 1
        assert reward(workspace, overlap=2).score(ITEMS[:1]) == [0.0]


def test_a_project_that_asks_for_no_rating_gives_none(workspace: WorkspaceFolder) -> None:
    with opened(workspace), pytest.raises(StoreError, match="asks for no overall rating"):
        reward(workspace, ask="rate").score(ITEMS)


def test_it_waits_and_goes_on_by_itself(workspace: WorkspaceFolder) -> None:
    told: list[str] = []
    with opened(workspace) as store:
        people = PeopleReward(workspace.database, "judges", Config(poll_s=0.01), say=told.append)
        found: list[list[float]] = []
        waiting = threading.Thread(target=lambda: found.append(people.score(ITEMS)))
        waiting.start()
        while not told:
            time.sleep(0.01)
        answer_all(store)
        waiting.join(60)
    assert found == [[0.0, 1.0, 0.0, 0.0, 1.0]]
    assert told == ["waiting for people: 4 of 4 tasks of project judges are open"]


def test_what_cannot_be_asked_is_refused(workspace: WorkspaceFolder) -> None:
    opened(workspace).close()
    with pytest.raises(StoreError, match="no project named 'jugdes'"):
        PeopleReward(workspace.database, "jugdes", Config()).score(ITEMS)
    with pytest.raises(ConfigError, match="nobody can be asked"):
        load_reward("people:judges", lambda name: workspace.root, options={})
    with pytest.raises(ConfigError):
        load_reward("people:judges", lambda name: workspace.root, options={"asks": 1}, people=People("x", print))


def test_ppo_parks_and_goes_on_bit_for_bit(toys: Toys, workspace: WorkspaceFolder) -> None:
    """One run waits while somebody answers; the other parks at every step, and is resumed after each answer."""
    overrides = (
        "reward=people:judges",
        "train.steps=3",
        "train.units_per_step=4",
        "train.save_every=1",
        "data.held_out_share=0.0",
    )
    with opened(workspace) as store:
        stop = threading.Event()

        def judge() -> None:
            while not stop.is_set():
                answer_all(store, 1)
                time.sleep(0.02)

        judging = threading.Thread(target=judge)
        judging.start()
        try:
            start("ppo", toys.mapping("ppo", *overrides, "reward_options.poll_s=0.02"), workspace, "waits")
        finally:
            stop.set()
            judging.join()
    other = WorkspaceFolder(workspace.root.parent / "other")
    from amenable.config.folder import init_workspace

    other = init_workspace(other.root)
    with opened(other) as store:
        mapping = toys.mapping("ppo", *overrides, "reward_options.poll_s=0.02", "reward_options.wait_minutes=0.0")
        parked = 0
        with pytest.raises(ParkedError):
            start("ppo", mapping, other, "parks")
        assert '"parked"' in (other.run("parks") / "status.json").read_text()
        while True:
            parked += 1
            assert answer_all(store, 1) > 0 and parked < 9
            try:
                resume(other.run("parks"))
                break
            except ParkedError:
                continue
        assert store.lineage_of(labeler="ann").runs == ("parks",)  # people who are the reward teach the model, too
    assert parked >= 2
    assert logged(other.run("parks")) == logged(workspace.run("waits"))
    assert_same_run(other.run("parks"), workspace.run("waits"))
