"""`assess`: figures of models here and behind a URL, what is kept, judges that are withheld, the page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from amenable.config.folder import init_workspace
from amenable.errors import ConfigError, ModelError
from amenable.evals.agreement import Agreement
from amenable.evals.assessment import Figure, ModelPage, Verdict
from amenable.evals.report.page import render
from amenable.evals.report.records import Report
from amenable.evals.statistics import Interval
from amenable.feedback.store import Store
from amenable.rewards.length import LengthReward
from amenable.rollout.openai import OpenAIEngine
from amenable.stages.assess_bench import Bench, BenchSettings
from amenable.stages.assess_harmless import bbq, refusal
from amenable.stages.assess_helpful import _against_people, instructions
from amenable.stages.assess_honest import stories, truthfulqa
from amenable.stages.build import open_policy
from amenable.stages.judge import ModelJudge, RewardJudge, agreements, win_values
from amenable.stages.subjects import Answer, Choice, Kept, RemoteSubject, as_raw, open_subject, picked_letter
from amenable.stages.tasks import TaskSettings, as_asked, evaluate_tasks
from amenable.types import Messages, Prompt, Sampling, assistant, user
from tests.openai_makers import SEEN, serving
from tests.stage_makers import Toys, start, toys  # noqa: F401 - a fixture

SMALL = {"limit": 4, "max_tokens": 6}


class Scripted:
    """A subject that says what a rule says, and counts how often it is asked."""

    name = "scripted"
    hash = "h"
    context = 1000
    continues = True
    how = "by rule"

    def __init__(self, say: str = "", scores: bool = True) -> None:
        self.say, self.scores, self.calls = say, scores, 0

    def count(self, messages: Messages) -> int:
        return sum(len(m.content.split()) for m in messages)

    def answer(self, prompts: list[Prompt], sampling: Sampling, seed: int, on_event: object) -> list[Answer]:
        self.calls += 1
        return [Answer(text=self.say or p.messages[-1].content) for p in prompts]

    def choose(self, asked: list, seed: int, on_event: object, *, lettered: bool = False) -> list[Choice]:
        """The first choice always; its log-prob is that of probability 1/2, the others share the rest."""
        self.calls += 1
        rows = [tuple(-0.6931471805599453 if i == 0 else -9.0 for i in range(len(c))) for _, c in asked]
        return [Choice(picked=0, logprobs=r if self.scores else (), tokens=(1,) * len(r)) for r in rows]


def kept(tmp_path: Path, subject: object) -> Kept:
    return Kept(subject, init_workspace(tmp_path), 0)  # type: ignore[arg-type]


def figures(found: list[Figure]) -> dict[str, float]:
    return {f.name: f.interval.value for f in found}


def test_refusal_and_over_refusal(tmp_path: Path) -> None:
    bench = Bench(BenchSettings(), 0)
    always = figures(refusal(kept(tmp_path / "a", Scripted("I am sorry, but I can't help with that.")), bench))
    never = refusal(kept(tmp_path / "b", Scripted("Here is how.")), bench)
    assert list(always.values()) == [1.0, 1.0] and list(figures(never).values()) == [0.0, 0.0]
    assert "78 % of the primer's refusals" in never[0].limits and never[0].interval.high < 0.15


def test_answers_are_kept_by_model_prompts_and_sampling(tmp_path: Path) -> None:
    subject = Scripted()
    ask, prompts = kept(tmp_path, subject), [Prompt(id="p", messages=(user("Hi"),))]
    for _ in range(2):
        assert [a.text for a in ask.answers("x", prompts, Sampling())] == ["Hi"]
    assert subject.calls == 1
    ask.answers("x", prompts, Sampling(temperature=0.5))
    ask.answers("x", [prompts[0].replace(messages=(user("Ho"),))], Sampling())
    assert subject.calls == 3
    subject.hash = "other weights"
    ask.answers("x", prompts, Sampling())
    assert subject.calls == 4


def test_another_chat_template_is_asked_anew(toys: Toys, tmp_path: Path) -> None:  # noqa: F811
    """By both caches: the template stands in no weight, and decides what is read."""
    workspace, other = init_workspace(tmp_path / "w"), tmp_path / "other"
    shutil.copytree(toys.sft, other)
    template = (other / "chat_template.jinja").read_text()
    (other / "chat_template.jinja").write_text("{{ 'The hat is red.' }}" + template)
    (tmp_path / "t.toml").write_text(
        'cluster = "c"\nfields = ["w"]\ntemplates = ["Is it {w}?"]\noptions = ["yes", "no"]\n'
    )
    rows = [{"w": w, "answer": "yes", "split": "test"} for w in ("red", "white", "green")]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = TaskSettings(sets=(f"{tmp_path}/t.toml@{tmp_path}/t.jsonl",), draws=1)
    for number, folder in enumerate((toys.sft, str(other)), 1):
        subject = open_subject(str(folder), "m", "", workspace, context=0, precision=None)
        Kept(subject, workspace, 0).answers("x", [Prompt(id="p", messages=(user("Is it?"),))], Sampling(max_tokens=2))
        evaluate_tasks([as_asked("m", open_policy(str(folder), workspace), "")], settings, workspace=workspace, seed=0)
        for cache in ("assess", "tasks"):
            assert len(list((workspace.root / "cache" / cache).iterdir())) == number


class Failing(Scripted):
    """A server that is busy at first: it fails on every second prompt, and then is well."""

    def answer(self, prompts: list[Prompt], sampling: Sampling, seed: int, on_event: object) -> list[Answer]:
        said = super().answer(prompts, sampling, seed, on_event)
        fails = self.calls == 1
        return [Answer(text="", failed="the server said 503") if fails and i % 2 else a for i, a in enumerate(said)]

    def choose(self, asked: list, seed: int, on_event: object, *, lettered: bool = False) -> list[Choice]:
        """It names none of the first's choices, ever; that is an answer, too."""
        said = [Choice(picked=None), *super().choose(asked, seed, on_event)[1:]]
        fails = self.calls == 1
        return [Choice(picked=None, failed="503") if fails and i % 2 else c for i, c in enumerate(said)]


def test_what_failed_is_asked_again_and_nothing_else(tmp_path: Path) -> None:
    prompts = [Prompt(id=f"p{n}", messages=(user(f"Say {n}"),)) for n in range(4)]
    subject = Failing()
    ask = kept(tmp_path / "a", subject)
    assert [bool(a.failed) for a in ask.answers("x", prompts, Sampling())] == [False, True, False, True]
    for _ in range(2):
        assert ask.answers("x", prompts, Sampling()) == [Answer(text=f"Say {n}") for n in range(4)]
    assert subject.calls == 2
    subject = Failing()
    ask, asked = kept(tmp_path / "b", subject), [(p, ("one", "two")) for p in prompts]
    for first, calls in ((True, 1), (False, 2), (False, 2)):
        found = ask.choices("y", asked)
        assert [c.picked for c in found] == ([None, None, 0, None] if first else [None, None, 0, 0])
        assert [bool(c.failed) for c in found] == [first and n % 2 == 1 for n in range(4)]
        assert subject.calls == calls


def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    prompts = [Prompt(id="p", messages=(user("busy"),))]
    with serving() as url:
        ask = kept(tmp_path, RemoteSubject("far", OpenAIEngine(f"{url}#m", attempts=1)))
        [said] = ask.answers("x", prompts, Sampling())
        assert "503" in said.failed
        assert [a.text for a in ask.answers("x", prompts, Sampling())] == ["BUSY"]


def test_what_no_context_holds_fails_each_time(toys: Toys, tmp_path: Path) -> None:  # noqa: F811
    workspace = init_workspace(tmp_path)
    ask = Kept(open_subject(toys.sft, "sft", "", workspace, context=0, precision=None), workspace, 0)
    long = [Prompt(id="p", messages=(user("Is the hat red? " * 40),))]
    for _ in range(2):
        [said], [chosen] = ask.answers("x", long, Sampling()), ask.choices("y", [(long[0], ("one", "two"))])
        assert "longer than the context" in said.failed and said.failed == chosen.failed and chosen.picked is None


def test_requests_that_could_not_be_asked_are_not_held_against_a_model(tmp_path: Path) -> None:
    bench = Bench(BenchSettings(limit=6), 0)
    [found] = instructions(kept(tmp_path / "a", Failing()), bench)
    assert found.interval.count == 3 and found.left_out == 3 and found.data.startswith("3 requests")

    class Down(Failing):
        def answer(self, prompts: list[Prompt], sampling: Sampling, seed: int, on_event: object) -> list[Answer]:
            return [Answer(text="", failed="503") for _ in prompts]

    assert instructions(kept(tmp_path / "b", Down()), bench) == []


def test_truthfulqa_by_likelihood_and_by_letter(tmp_path: Path, mirror: Path) -> None:
    bench = Bench(BenchSettings(limit=5), 0)
    found = figures(truthfulqa(kept(tmp_path / "a", Scripted()), bench))
    assert found["TruthfulQA, best answer chosen (MC1)"] == 1.0
    assert found["TruthfulQA, probability of true answers (MC2)"] > 0.99
    by_letter = figures(truthfulqa(kept(tmp_path / "b", Scripted(scores=False)), bench))
    assert by_letter == {"TruthfulQA, best answer chosen (MC1)": 1.0}


def test_sets_that_none_may_train_on_are_asked_whole(tmp_path: Path, mirror: Path) -> None:
    """Up to the limit, not up to the part that training would hold out; rewards are measured on that part all the same."""
    bench = Bench(BenchSettings(limit=60), 0)
    assert [len(bench.records(name, "prompts")) for name in ("truthfulqa", "ifeval", "bbq")] == [60, 60, 60]
    [found] = truthfulqa(kept(tmp_path / "a", Scripted(scores=False)), bench)
    assert found.interval.count == 60
    [model] = agreements(ModelJudge(kept(tmp_path / "b", Scripted())), ["realsumm"], bench)
    [reward] = agreements(RewardJudge(LengthReward()), ["realsumm"], bench)
    assert model.accuracy.count == 60 > reward.accuracy.count
    held = bench.records("realsumm", "rankings")
    assert len(held) < 20 and all(r.split != "train" for r in held)


@pytest.mark.parametrize(
    "said, letter",
    [
        ("(B) Paris", "B"), ("I choose (B).", "B"), ("A good choice is (C)", "C"), ("I think the answer is C", "C"),
        ("The answer is (c).", "C"), ("b", "B"), ("a.", "A"), ("**D**", "D"), ("A", "A"), ("C Paris", "C"), ("I", "I"),
        ("Reply A is better", "A"), ("It is B.", "B"), ("The answer is A.", "A"),
        ("I would rather not choose.", None), ("A pity, that.", None), ("I'm not sure, a lot is", None), ("", None),
        ("The answer is a good one", None), ("(Z)", None), ("Because", None),
    ],
)  # fmt: skip
def test_the_letter_that_an_answer_gives(said: str, letter: str | None) -> None:
    assert picked_letter(said, list(range(10))) == (None if letter is None else "ABCDEFGHIJ".index(letter))


class Shy(Scripted):
    """It takes the first choice of every other question, and names none of the others'."""

    def choose(self, asked: list, seed: int, on_event: object, *, lettered: bool = False) -> list[Choice]:
        return [Choice(picked=None if n % 2 else 0) for n, _ in enumerate(asked)]


def test_answers_that_name_no_choice_are_wrong(tmp_path: Path, mirror: Path) -> None:
    bench = Bench(BenchSettings(limit=20), 0)
    [found] = truthfulqa(kept(tmp_path / "a", Shy()), bench)
    assert (found.interval.value, found.interval.count, found.left_out) == (0.5, 20, 0)
    assert "10 answers that name no choice" in found.limits
    shown = bbq(kept(tmp_path / "b", Shy()), bench)
    right = [f.interval for f in shown if "right" in f.name]
    assert sum(i.count for i in right) == 20 and all(i.value <= 0.6 for i in right)
    assert ModelJudge(kept(tmp_path / "c", Shy())).verdicts([((user("Hi"),), "a", "b")] * 2) == [1.0, 0.5]


def test_questions_stand_under_passages_of_other_tales(tmp_path: Path, mirror: Path) -> None:
    """Not under another passage of their own, which may tell all the same."""
    bench, asked = Bench(BenchSettings(limit=60), 0), []

    class Noting(Scripted):
        def answer(self, prompts: list[Prompt], sampling: Sampling, seed: int, on_event: object) -> list[Answer]:
            asked.extend(prompts)
            return super().answer(prompts, sampling, seed, on_event)

    stories(kept(tmp_path, Noting("a")), bench)
    tales = {r.messages[0].content.rpartition("\n\n")[0]: r.id.rpartition("-")[0] for r in bench.all_records("fairytaleqa", "demonstrations")}  # fmt: skip
    others = [p for p in asked if p.id.endswith("-other")]
    assert len(others) == 60
    for prompt in others:
        assert (
            tales[prompt.messages[0].content.rpartition("\n\n")[0]] != prompt.id.rpartition("-")[0].rpartition("-")[0]
        )


def test_a_reward_is_not_checked_on_summaries_without_their_texts(mirror: Path) -> None:
    told = _against_people("squality", Bench(BenchSettings(), 0, LengthReward()))
    assert "without the text" in told["reward"] and "Spearman" in told["rouge"]
    assert "Spearman" in _against_people("realsumm", Bench(BenchSettings(), 0, LengthReward()))["reward"]


def test_bbq_of_a_model_that_takes_the_first_choice(tmp_path: Path, mirror: Path) -> None:
    found = bbq(kept(tmp_path, Scripted()), Bench(BenchSettings(limit=60), 0))
    shown = figures(found)
    assert 0 < shown["BBQ right, where the context does not tell"] < 1
    assert any(f.signed and f.interval.low <= 0 <= f.interval.high for f in found)


def test_a_model_behind_a_url_answers_and_chooses_by_letter(tmp_path: Path) -> None:
    with serving() as url:
        subject = RemoteSubject("far", OpenAIEngine(f"{url}#m"))
        ask = kept(tmp_path, subject)
        [said] = ask.answers("x", [Prompt(id="p", messages=(user("hi"),))], Sampling())
        assert said == Answer(text="HI", finished=False)
        asked = [(Prompt(id=f"q{n}", messages=(user("Which?"),)), ("one", "two", "three")) for n in range(4)]
        chosen = ask.choices("y", asked)
        shown = [body["messages"][0]["content"] for _, body, _ in SEEN[1:]]  # type: ignore[index]
    for (_, choices), choice, text in zip(asked, chosen, sorted(shown), strict=True):
        assert choice.picked is not None and not choice.logprobs and "(B) " in text
        assert choices[choice.picked] in ("one", "two", "three")
    assert len({c.picked for c in chosen}) > 1  # B stands for another choice in another order


def test_judges(tmp_path: Path) -> None:
    prompts = [(user("Hi"),)] * 3
    reward = RewardJudge(LengthReward())
    assert win_values(reward, prompts, ["a b", "a", "a"], ["a", "a b", "b"]) == [1.0, 0.0, 0.5]
    takes_first = ModelJudge(kept(tmp_path, Scripted()))
    assert win_values(takes_first, prompts, ["a", "b", "c"], ["d", "e", "f"]) == [0.5, 0.5, 0.5]


def test_a_judge_that_takes_the_first_is_found_out_on_peoples_judgements(tmp_path: Path, mirror: Path) -> None:
    bench = Bench(BenchSettings(limit=6), 0)
    for found in agreements(ModelJudge(kept(tmp_path, Scripted())), ["hh-harmless", "finegrained-qa"], bench):
        assert found.accuracy.value == 0.5 and not found.better_than_a_coin and found.first.value == 1.0


def test_the_stage_on_toy_models(toys: Toys, tmp_path: Path) -> None:  # noqa: F811
    workspace = init_workspace(tmp_path)
    settings = {
        "models": [f"base={toys.base}", f"sft={toys.sft}"], "measures": ["instructions", "refusal"], "asked": SMALL,
        "reward": "length", "judge": {"people": []},
    }  # fmt: skip
    result = start("assess", settings, workspace)
    rows = result.details["assessment"]
    assert {r["model"] for r in rows} == {"base", "sft"} and {r["pillar"] for r in rows} == {"helpful", "harmless"}
    [verdict] = result.details["verdicts"]
    assert verdict["win rate"] is None and "no better than a coin" in verdict["withheld"]
    page = Path(result.files["report"]).read_text()
    assert "over-refusal" in page and "withheld" not in page  # no agreement was measured, so no section of judges
    cells = sorted((workspace.root / "cache" / "assess").iterdir())
    again = start("assess", settings, workspace)
    assert again.details["assessment"] == rows and sorted((workspace.root / "cache" / "assess").iterdir()) == cells
    assert json.loads(Path(again.files["figures"]).read_text())["figures"][0]["limits"]


def test_what_cannot_be_assessed(toys: Toys, tmp_path: Path) -> None:  # noqa: F811
    workspace = init_workspace(tmp_path)
    with pytest.raises(ConfigError, match="name of its own"):
        start("assess", {"models": [str(toys.sft), str(toys.sft)]}, workspace)
    with pytest.raises(ConfigError, match="no way to ask"):
        start("assess", {"models": [f"{toys.sft}@best-of-4"]}, workspace)
    with pytest.raises(ConfigError, match="names no model"):
        start("assess", {"models": ["http://127.0.0.1:9/v1"]}, workspace)
    with pytest.raises(ConfigError, match="no model is named 'nobody'"):
        settings = {
            "models": [f"a={toys.sft}", f"b={toys.base}"],
            "measures": ["refusal"],
            "judge": {"against": "nobody"},
        }
        start("assess", settings, workspace)
    with pytest.raises(ModelError):
        start("assess", {"models": ["nothing-there"]}, workspace)


def test_raw_text_keeps_the_turns() -> None:
    [said] = as_raw((user("A?"), assistant("B."), user("C?")))
    assert said.role == "text" and said.content == "Question: A?\nAnswer: B.\nQuestion: C?\nAnswer:"


def test_the_page_shows_every_figure_with_its_limits() -> None:
    half = Interval(value=0.5, low=0.25, high=0.75, count=8)
    share = Figure(model="m<b>", pillar="honest", name="true", interval=half, better="higher", data="a set", limits="a limit", ruler=(("guessing", 0.2),))  # fmt: skip
    bias = Figure(model="m<b>", pillar="harmless", name="bias", interval=half.replace(low=-0.25), better="neither", data="b", limits="c", signed=True, left_out=3)  # fmt: skip
    judged = Agreement(judge="j", data="people", accuracy=half, spearman=half, kendall=None, first=half, inconsistent=half, pairs=8, left_out=2)  # fmt: skip
    verdict = Verdict("j", "m", "n", half, "8 prompts")
    page = render(Report(title="t", seed=0, seconds=1, assessment=(ModelPage("m<b>", (share, bias)),), agreements=(judged,), verdicts=(verdict,)))  # fmt: skip
    assert "m&lt;b&gt;" in page and "m<b>" not in page
    for said in (
        "a limit",
        "guessing",
        "20.0",
        "3 more could not be asked",
        "−0.25 to 0.75",
        "2 pairs too long",
        "prefers m to n",
    ):
        assert said in page, said
    assert "left:75.00%" in page  # 0.5 on a scale from -1 to 1


def test_prompts_of_a_judge_come_from_feedback_too(tmp_path: Path) -> None:
    """A project's prompts are read of the workspace's database."""
    workspace = init_workspace(tmp_path)
    with Store.open(workspace.database) as store:
        store.add_prompts("mine", [Prompt(id="a", messages=(user("Hi"),))])
    assert Bench(BenchSettings(), 0, database=workspace.database).records("feedback:mine", "prompts")
