"""What is known of a reward model: whose choices it meets, its length bias, its learning curve, its members, its held-out scores."""

from __future__ import annotations

import json
import math
import signal

import numpy as np
import pytest
from scipy import stats

from amenable.data.rows import Row
from amenable.errors import AmenableError, ConfigError, DataError
from amenable.evals.forecast import forecast
from amenable.evals.reward_quality import reward_quality, slope
from amenable.models.folder import read_metadata
from amenable.rewards.base import HeldOutScores
from amenable.rewards.ensemble import EnsembleReward
from amenable.rewards.load import load_reward
from amenable.rewards.model import RewardModel
from amenable.stages.ctrl_c import Interrupted
from amenable.stages.data import Stream
from amenable.stages.resume import resume
from amenable.stages.reward_apart import first_prompts, num_comparisons, resampled
from amenable.stages.reward_measure import all_responses, good_responses, measure, preferred
from amenable.types import Comparison, Label, Ranking, Rating, Scored, user

from .stage_makers import (
    Broken,
    assert_same_weights,
    breaking_at,
    comparisons,
    labels,
    rows,
    start,
    toys,
    weights,
    workspace,
    write_rows,
)

__all__ = ["toys", "workspace"]


def compared(
    number: int, *, labeler: str = "", source: str = "", chosen: str = "aa", rejected: str = "b"
) -> Comparison:
    prompt = (user(f"q{number}"),)
    return Comparison(
        id=f"c{number}", prompt=prompt, chosen=chosen, rejected=rejected, labeler=labeler, source=source
    )  # fmt: skip


# Whose choices


def test_accuracy_by_source_and_labeler_by_hand():
    asked = [
        compared(0, labeler="ann", source="web"),
        compared(1, labeler="ann", source="web"),
        compared(2, labeler="bob", source="web"),
        compared(3, source="book"),
    ]
    found = reward_quality(asked, [1.0, 0.0, 1.0, 0.5], [0.0, 1.0, 0.0, 0.5])
    assert [(g.name, g.num_pairs, g.accuracy.value) for g in found.by_labeler] == [
        ("ann", 2, 0.5), ("bob", 1, 1.0), ("not named", 1, 0.5)
    ]  # fmt: skip
    assert [(g.name, g.num_pairs, g.accuracy.value) for g in found.by_source] == [
        ("web", 3, pytest.approx(2 / 3)), ("book", 1, 0.5)
    ]  # fmt: skip
    whole = sum(g.num_pairs * g.accuracy.value for g in found.by_source) / 4
    assert whole == pytest.approx(found.accuracy.value)
    assert reward_quality(asked[:2], [1.0, 1.0], [0.0, 0.0]).by_labeler == ()


def test_length_bias_by_hand_and_against_scipy():
    # margins 1.0 and 1.5 where the chosen reply is 0 and 100 characters longer: half a nat per 100 characters
    asked = [compared(0, chosen="x" * 10, rejected="y" * 10), compared(1, chosen="x" * 110, rejected="y" * 10)]
    found = reward_quality(asked, [1.0, 1.5], [0.0, 0.0]).length_bias
    assert found is not None and found.value == pytest.approx(0.5)
    rng = np.random.default_rng(4)
    a, b = rng.integers(1, 200, size=60), rng.integers(1, 200, size=60)
    asked = [compared(i, chosen="x" * a[i], rejected="y" * b[i]) for i in range(60)]
    margin = rng.normal(1.0, 1.0, size=60) + 0.02 * (a - b)
    found = reward_quality(asked, margin.tolist(), [0.0] * 60).length_bias
    assert found is not None and found.value == pytest.approx(stats.linregress((a - b) / 100, margin).slope)
    assert found.low < 2.0 < found.high and found.low > 0


def test_without_a_difference_in_length_there_is_no_length_bias():
    """All pairs 7 characters apart: seven hundredths, whose mean over several is another number."""
    for count in range(2, 20):
        assert math.isnan(slope(np.full(count, 0.07), np.arange(count) * 1.0))


# The learning curve


def test_forecast_by_hand():
    # 100 → 200 → 400 comparisons: 50 %, 60 %, 70 % of ten pairs; a tenth per doubling, so a point takes a tenth of a doubling
    right = [[1.0] * k + [0.0] * (10 - k) for k in (5, 6, 7)]
    found = forecast([100, 200, 400], right, clusters=list(range(10)))
    assert found.per_doubling.value == pytest.approx(0.1)
    assert found.more == pytest.approx(400 * (2**0.1 - 1))
    assert [p.num_train for p in found.points] == [100, 200, 400]
    assert [p.accuracy.value for p in found.points] == pytest.approx([0.5, 0.6, 0.7])
    assert "about 29 further ones" in found.sentence()
    turned = forecast([400, 100, 200], [right[2], right[0], right[1]], clusters=list(range(10)))
    assert turned == found


def test_forecast_against_polyfit_and_by_prompt():
    rng = np.random.default_rng(2)
    sizes = [120, 250, 490, 1000]
    right = (rng.random((4, 200)) < np.array([0.6, 0.63, 0.67, 0.69])[:, None]).astype(float)
    found = forecast(sizes, right.tolist(), clusters=[i // 2 for i in range(200)])
    assert found.per_doubling.value == pytest.approx(np.polyfit(np.log2(sizes), right.mean(1), 1)[0])
    assert found.per_doubling.count == 100
    slope = found.per_doubling
    if slope.low > 0:
        assert found.more_low < found.more < found.more_high
    else:
        assert found.more_high is None
    # the very same pairs asked ten times over are no more evidence
    often = forecast(sizes, np.tile(right, 10).tolist(), clusters=[i // 2 for i in range(200)] * 10)
    assert often.per_doubling.low == pytest.approx(slope.low) and often.per_doubling.high == pytest.approx(slope.high)


def test_a_forecast_claims_no_more_than_it_shows():
    flat = forecast([10, 20], [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]], clusters=list("abcd"))
    assert flat.more is None and "not shown" in flat.sentence()
    rising = forecast([10, 20], [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]], clusters=list("abcd"))
    assert rising.per_doubling.low < 0 and rising.more_high is None and "no bound above" in rising.sentence()
    perfect = forecast([10, 20], [[0.0, 1.0], [1.0, 1.0]], clusters=list("ab"))
    assert "hardly a point" in perfect.sentence()
    with pytest.raises(DataError, match="two sizes"):
        forecast([10, 10], [[0.0], [1.0]], clusters=["a"])


def stream_of(count: int) -> Stream:
    """Two comparisons of each prompt."""
    units = [[Row(np.arange(2), np.zeros(2, bool), record=compared(i // 2))] * 2 for i in range(2 * count)]
    return Stream("comparisons", {"here": units}, {}, [], [], {})


def prompts_of(stream: Stream) -> list[str]:
    return [unit[0].record.prompt[0].content for unit in stream.units["here"]]


def test_smaller_training_sets_lie_within_larger_ones_and_keep_prompts_whole():
    stream = stream_of(40)
    quarter, half = (prompts_of(first_prompts(stream, share, seed=0)) for share in (0.25, 0.5))
    assert len(quarter) == 20 and len(half) == 40 and set(quarter) < set(half)
    assert all(half.count(prompt) == 2 for prompt in half)
    assert set(half) != set(prompts_of(first_prompts(stream, 0.5, seed=1)))
    assert num_comparisons(first_prompts(stream, 0.25, seed=0)) == 20


def test_a_bootstrap_draws_whole_prompts_with_replacement():
    stream = stream_of(200)
    drawn = prompts_of(resampled(stream, seed=1))
    assert len(drawn) == 400 and all(drawn.count(p) % 2 == 0 for p in set(drawn))
    assert len(set(drawn)) / 200 == pytest.approx(1 - 1 / math.e, abs=0.08)
    assert drawn == prompts_of(resampled(stream, seed=1)) != prompts_of(resampled(stream, seed=2))


# The stage


def test_held_out_scores_by_hand():
    found = HeldOutScores.of([0.0, 1.0, 2.0, 3.0])
    assert (found.mean, found.std) == (1.5, pytest.approx(math.sqrt(1.25)))
    assert found.p99 == pytest.approx(2.97)


def test_the_preferred_of_rankings_are_all_in_the_best_tier():
    ranking = Ranking(id="r", prompt=(user("Hi"),), responses=("a", "b", "c"), tiers=(1, 0, 0))
    assert [item.response for item in preferred([ranking, compared(0)])] == ["aa", "b", "c"]


class Stub:
    """Scores by the number that the response says."""

    name = "stub"

    def score(self, items):
        return [float(item.response) for item in items]


def test_ratings_are_measured_by_hand():
    given = [Rating(id=f"a{i}", prompt=(user(f"q{i}"),), response=r, score=s) for i, (r, s) in enumerate([("0.5", 4), ("0", 7), ("1", 7)])]  # fmt: skip
    _, about = measure(Stub(), Stream("ratings", {}, {}, [], given, {}), seed=0)
    assert about["mean_error"]["value"] == pytest.approx((0 + 1 + 0) / 3)  # 4 of 1 to 7 is 0.5, 7 is 1
    assert about["rank_correlation"]["value"] == pytest.approx(stats.spearmanr([0.5, 0, 1], [0.5, 1, 1]).statistic)
    assert "misses 3 held-out ratings by 33.3%" in about["sentences"][0]


def test_labels_have_an_interval_over_prompts():
    """Ten responses to each of four prompts say as much as four rows, where those to one prompt are all right or all wrong."""

    class Stub:
        def score(self, items):
            return [1.0 if item.prompt[0].content in "ab" else -1.0 for item in items]

    given = [Label(id=f"{p}{n}", prompt=(user(p),), response=f"r{n}", label=True) for p in "abcd" for n in range(10)]
    _, about = measure(Stub(), Stream("labels", {}, {}, [], given, {}), seed=0)
    found = about["accuracy"]
    assert found["count"] == 4 and found["value"] == 0.5 and found["low"] == 0.0 and found["high"] == 1.0


def test_the_zero_and_the_scale_are_of_all_sources(workspace):
    asked = [compared(n, source="a", chosen="a", rejected="a") for n in range(1500)]
    asked += [compared(n, source="b", chosen="b", rejected="b") for n in range(1500)]
    good, _ = good_responses((), Stream("comparisons", {}, {}, [], asked, {}), workspace)
    for found in (good, all_responses(asked)):
        assert len(found) == 1024 and 400 < sum(item.response == "b" for item in found) < 624

    file, stream = workspace.root / "good.jsonl", Stream("comparisons", {}, {}, [], [], {})
    row = '{"prompt": "Who?", "output": "The dog."}\n'
    file.write_text(row + row)
    good, _ = good_responses((str(file),), stream, workspace)
    assert [item.response for item in good] == ["The dog."] and stream.notes == [f"{file}: 1 duplicates left out"]


BRIEF = {"steps": 1, "units_per_step": 4, "precision": "float32"}


@pytest.mark.parametrize("algorithm, records", [("reward_pairwise", comparisons), ("reward_label", labels)])
def test_a_reward_trained_on_what_was_held_out_is_not_measured_on_it(algorithm, records, toys, workspace, tmp_path):
    path = write_rows(tmp_path / "r.jsonl", records())
    mapping = {"model": toys.sft, "algorithm": {"name": algorithm}, "train": BRIEF}
    mapping |= {"data": {"train": [path], "held_out_share": 0.3, "use_held_out": True}}
    about = start("reward", mapping, workspace, f"all-{algorithm}").details
    assert "There is no held-out data" in about["sentences"][0] and "accuracy" not in about


def test_prompts_measured_that_were_trained_on_are_told_and_take_the_bag_of_words_away(toys, workspace, tmp_path):
    path, own = write_rows(tmp_path / "r.jsonl", comparisons()), write_rows(tmp_path / "v.jsonl", comparisons()[:5])
    mapping = {"model": toys.sft, "train": BRIEF, "data": {"train": [path], "validation": [own], "held_out_share": 0.0}}
    about = start("reward", mapping, workspace, "shared").details
    assert about["sentences"][-1].startswith("5 of the prompts measured were trained on too")
    assert [b["name"] for b in about["baselines"]] == ["longer reply", "shorter reply"]


def test_replies_without_a_word_leave_out_the_bag_of_words(toys, workspace, tmp_path):
    asked = [compared(n, chosen="Y", rejected="N") for n in range(40)]
    mapping = {"model": toys.sft, "train": BRIEF, "data": {"held_out_share": 0.3}}
    mapping["data"]["train"] = [write_rows(tmp_path / "r.jsonl", asked)]
    run = start("reward", mapping, workspace, "wordless")
    assert run.model and "no word to learn from" in run.details["sentences"][-1]
    assert [b["name"] for b in run.details["baselines"]] == ["longer reply", "shorter reply"]


def test_a_model_that_cannot_be_measured_is_kept(toys, workspace, monkeypatch):
    def refuse(*_):
        raise DataError("nothing to measure on")

    monkeypatch.setattr("amenable.stages.reward.measure", refuse)
    run = start("reward", toys.mapping("reward", "train.steps=1"), workspace, "unmeasured")
    assert run.details["sentences"] == ["The reward model could not be measured: nothing to measure on."]
    assert RewardModel.load(run.model).score(held_out_items())


def test_a_mistyped_name_to_centre_on_is_told_before_the_training(toys, workspace):
    with pytest.raises(AmenableError, match="nope"):
        start("reward", toys.mapping("reward", 'centre_on=["nope.jsonl"]'), workspace, "mistyped")
    assert not workspace.run_names()


@pytest.fixture(scope="module")
def ensemble(toys, tmp_path_factory):
    """A reward run with everything on: two people judged each pair, of two sources, and agree on four of five."""
    from amenable.config.folder import init_workspace

    asked = [
        c.replace(id=f"{c.id}-ann", labeler="ann", source="web" if i % 2 else "book")
        for i, c in enumerate(comparisons())
    ]
    asked += [
        c.replace(
            id=f"{c.id}-bob", labeler="bob", **({"chosen": c.rejected, "rejected": c.chosen} if i % 5 == 0 else {})
        )
        for i, c in enumerate(asked)
    ]
    data = write_rows(tmp_path_factory.mktemp("judged") / "judged.jsonl", asked)
    workspace = init_workspace(tmp_path_factory.mktemp("ensemble") / "workspace")
    settings = (
        f"data.train=[{json.dumps(data)}]", "data.held_out_share=0.3", "members=2", "bootstrap=true", "forecast=1",
        "train.precision=float32", "train.optimizer.learning_rate=0.01", "train.save_every=0", "train.steps=4",
    )  # fmt: skip
    return start("reward", toys.mapping("reward", *settings), workspace, "judge")


def held_out_items() -> list[Scored]:
    return [Scored(prompt=c.prompt, response=r) for c in comparisons()[:6] for r in (c.chosen, c.rejected)]


def test_a_reward_run_writes_all_that_is_known(ensemble):
    about = json.loads((ensemble.path / "reward.json").read_text())
    assert len(about["members"]) == 2 and all(0 <= accuracy <= 1 for accuracy in about["members"])
    assert {g["name"] for g in about["by_labeler"]} == {"ann", "bob"}
    assert {g["name"] for g in about["by_source"]} == {"web", "book"}
    assert [b["name"] for b in about["baselines"]] == ["longer reply", "shorter reply", "bag of words"]
    assert 0.5 < about["human_agreement"]["low"] < about["human_agreement"]["value"] < 1
    small, large = about["forecast"]["points"]
    assert small["num_train"] == pytest.approx(large["num_train"] / 2, abs=2)
    page = (ensemble.path / "report.html").read_text()
    for words in ("By labeler", "By source", "longer reply", "bag of words", "two people agree", "95 % interval",
                  "What more comparisons would bring", "Length bias", "Calibration error"):  # fmt: skip
        assert words in page.replace("\xa0", " "), words
    assert "Each doubling" in about["sentences"][-1]


def test_the_members_are_different_models_each_with_its_own_zero(ensemble):
    first = RewardModel.load(ensemble.model)
    second = RewardModel.load(ensemble.path / "model" / "members" / "2")
    assert first.score(held_out_items()) != second.score(held_out_items())
    stored = read_metadata(ensemble.model)["reward"]
    assert stored["held_out"]["count"] == stored["ensemble_held_out"]["count"] == 2 * _held_out(ensemble)
    assert first.held_out is not None and second.held_out is not None
    assert first.held_out.p99 == pytest.approx(stored["held_out"]["p99"])
    other = read_metadata(ensemble.path / "model" / "members" / "2")["reward"]
    assert other["shift"] != stored["shift"] != 0
    # preferred responses average 0, and each prompt has one preferred and one other: the mean is half of what those score
    assert first.held_out.mean < 0


def _held_out(run) -> int:
    return json.loads((run.path / "reward.json").read_text())["pairs"]


def test_an_ensemble_is_loaded_by_name_and_its_options_count(ensemble):
    def load(**options):
        return load_reward(ensemble.model, lambda name: ensemble.path / "model", options=options)

    items = held_out_items()
    mean, worst = load(), load(combine="worst")
    assert isinstance(mean, EnsembleReward) and mean.held_out is not None
    table = np.array([member.score(items) for member in mean.members])
    assert mean.score(items) == pytest.approx(table.mean(0).tolist())
    assert worst.score(items) == pytest.approx(table.min(0).tolist())
    with pytest.raises(ConfigError, match="mean"):
        load(combine="median")


def test_a_run_that_breaks_off_among_its_members_is_resumed(toys, workspace):
    settings = ("members=2", "train.precision=float32", "train.optimizer.learning_rate=0.01", "train.steps=3")
    mapping = toys.mapping("reward", *settings)
    unbroken = start("reward", mapping, workspace, "unbroken")
    with pytest.raises(Broken):
        start("reward", mapping, workspace, "broken", breaking_at(2, "member 2 of 2"))
    resumed = resume(workspace.run("broken"))
    assert_same_weights(resumed.model, unbroken.model)
    assert any(name.startswith("members/2/") for name in weights(resumed.model))


def test_ctrl_c_is_heard_among_the_members(toys, workspace):
    def press(event):
        if event.stage == "member 2 of 3" and event.done == 1:
            signal.raise_signal(signal.SIGINT)

    mapping = toys.mapping("reward", "members=3", "train.steps=3")
    with pytest.raises(Interrupted, match="member 2 of 3"):
        start("reward", mapping, workspace, "stopped", press)
    run = workspace.run("stopped")
    assert json.loads((run / "status.json").read_text())["status"] == "interrupted"
    assert any(name.startswith("members/3/") for name in weights(resume(run).model))


def test_ppo_takes_an_ensemble_and_logs_its_members(ensemble, toys, workspace):
    settings = (f"reward={ensemble.model}", "reward_options.combine=penalised", "train.steps=2")
    run = start("ppo", toys.mapping("ppo", *settings), workspace, "held")
    for row in rows(run.path):
        assert row["reward/disagreement"] > 0
        assert row["score"] == pytest.approx(
            (row["reward/member_1"] + row["reward/member_2"]) / 2 - row["reward/disagreement"], abs=1e-4
        )
        assert 0 <= row["score_beyond"] <= 1


def test_one_question_of_several(toys, workspace, tmp_path):
    turned = [r.replace(id=f"t{r.id}", name="rude", label=not r.label) for r in labels() if isinstance(r, Label)]
    polite = [r.replace(name="polite") for r in labels() if isinstance(r, Label)]
    data = write_rows(tmp_path / "labels.jsonl", [*polite, *turned])
    settings = ("algorithm.name=reward_label", f"data.train=[{json.dumps(data)}]", "train.optimizer.learning_rate=0.01")
    mapping = toys.mapping("reward", *settings, "train.steps=20", "train.save_every=0")
    with pytest.raises(ConfigError, match="several questions"):
        start("reward", mapping, workspace, "none")
    run = start("reward", {**mapping, "data": {**mapping["data"], "question": "rude"}}, workspace, "rude")
    good, bad = RewardModel.load(run.model).score(
        [Scored(prompt=(user("Is the ball red?"),), response=r) for r in ("Yes, red.", "What?")]
    )
    assert bad > good + 0.3
    assert read_metadata(run.model)["reward"]["shift"] == 0.0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["bootstrap=true"], "members"),
        (["data.question=rude"], "answer no question"),
        (["forecast=2", "data.held_out_share=0.0"], "held-out comparisons"),
        (["forecast=6"], "cannot be halved"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(settings, words, toys, workspace):
    with pytest.raises(ConfigError) as caught:
        start("reward", toys.mapping("reward", *settings), workspace, "refused")
    assert words in str(caught.value)
