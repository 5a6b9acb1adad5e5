"""Text measures, KL, curves, frontier and reward quality against numbers made by hand and independent references."""

import json
import math

import numpy as np
import pytest
import torch
from scipy import stats

from amenable.errors import DataError
from amenable.evals.curves import Curve, read_curves, thin
from amenable.evals.frontier import FrontierPoint, best_of_n_kl, exact, pareto
from amenable.evals.kl import sequence_kl
from amenable.evals.reward_quality import bag_of_words, human_agreement, reward_quality
from amenable.evals.text_measures import bits_per_byte, distinct_n, likelihood, measure_texts, self_bleu
from amenable.types import Comparison, user


def test_text_measures_by_hand():
    # bigrams: (the cat)(cat sat) (the cat)(cat ran) (); 3 of 4 differ
    assert distinct_n(["the cat sat", "The cat ran", ""], 2) == 0.75
    m = measure_texts(["a b c d a b c d", "x y z w", ""], finished=[True, True, False])
    assert m.empty == 1 and m.longest_words == 8 and m.median_words == 4
    # the first text has 5 four-grams, abcd twice: 1/5 repeated; the others none
    assert m.repetition == pytest.approx(0.2 / 3)
    assert m.self_bleu == 0.0 and m.finished == pytest.approx(2 / 3)
    assert self_bleu(["a b c d a b c d", "a b c d"]) == pytest.approx((1 / 5 + 1) / 2)  # clipped at one
    with pytest.raises(DataError):
        measure_texts([])


def test_bits_per_byte_counts_utf8_bytes_and_not_tokens():
    texts = ["é" * 4, "abcdefgh"]  # 8 bytes each
    uniform = lambda rows: [(-8 * math.log(256), 5) for _ in rows]  # a model that knows nothing about bytes
    found = likelihood(texts, uniform)
    assert found.bits_per_byte == pytest.approx(8.0) and found.num_bytes == 16
    assert found.perplexity == pytest.approx(256 ** (8 / 5))
    assert found.interval.low == pytest.approx(8.0)
    # Pooled over texts, not averaged: a long text weighs more.
    pooled = likelihood(["a", "b" * 9], lambda rows: [(-10.0, 1), (0.0, 9)])
    assert pooled.bits_per_byte == pytest.approx(bits_per_byte(10.0, 10))
    with pytest.raises(DataError):
        likelihood([""], lambda rows: [(0.0, 1)])


def test_sequence_kl_estimates_the_exact_kl():
    torch.manual_seed(0)
    p, q = torch.randn(5).log_softmax(0), torch.randn(5).log_softmax(0)
    truth = float(torch.nn.functional.kl_div(q, p, log_target=True, reduction="sum"))
    tokens = torch.multinomial(p.exp(), 3 * 4000, replacement=True).view(4000, 3)
    found = sequence_kl(p[tokens].tolist(), q[tokens].tolist(), seed=1)
    assert found.k1.covers(3 * truth) and found.k3.covers(3 * truth)
    assert found.per_token == pytest.approx(found.k1.value / 3)
    assert found.k1.low < found.k1.value < found.k1.high


def test_sequence_kl_by_hand_with_foreign_tokens():
    found = sequence_kl([[0.0, -9.0, -1.0]], [[-1.0, -1.0, -0.5]], own=[[True, False, True]])
    assert found.per_response == (0.5,) and found.num_tokens == 2
    assert found.k3.value == pytest.approx((math.exp(-1) - 1 + 1) + (math.exp(0.5) - 1 - 0.5))
    near = sequence_kl([[-1.0]], [[-1.0 - 1e-9]])
    assert near.k3.value == pytest.approx(0.5e-18, abs=1e-15) and near.k3.value >= 0
    for bad in ([[-1.0]], [[-1.0], [-1.0]]):
        with pytest.raises(DataError):
            sequence_kl([[-1.0, -2.0], [-1.0]], bad)


def test_curves_take_the_resumed_step_and_pass_over_a_cut_line(tmp_path):
    run = tmp_path / "run-a"
    run.mkdir()
    rows = [{"step": 1, "loss": 3.0, "note": "x"}, {"step": 2, "loss": 9.0}, {"step": 2, "loss": 2.0, "kl": 0.1}]
    text = "".join(json.dumps(r) + "\n" for r in rows)
    (run / "metrics.jsonl").write_text(text + '{"step": 3, "lo')
    loss, kl = read_curves(run)
    assert (loss.run, loss.metric, loss.steps, loss.values) == ("run-a", "loss", (1, 2), (3.0, 2.0))
    assert (kl.steps, kl.values) == ((2,), (0.1,))
    (run / "metrics.jsonl").write_text('{"step": 3, "lo\n' + text)
    with pytest.raises(DataError) as error:
        read_curves(run)
    assert str(error.value).splitlines()[1].endswith("metrics.jsonl:1")
    (run / "metrics.jsonl").write_text(text + '{"loss": 1.0}\n')
    with pytest.raises(DataError, match="step"):
        read_curves(run)


def test_a_metric_or_file_that_is_not_there_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": 1.0}) + "\n")
    with pytest.raises(DataError, match="no metric 'rewrad'"):
        read_curves(tmp_path, metrics=["rewrad"])
    with pytest.raises(DataError, match="cannot be read"):
        read_curves(tmp_path / "nowhere.jsonl")


def test_thinning_keeps_the_mean_and_the_last_step():
    steps = tuple(range(1, 1001))
    curve = Curve(run="r", metric="m", steps=steps, values=tuple(float(s) for s in steps))
    read = thin(curve, 100)
    assert len(read.steps) == 100 and read.steps[-1] == 1000 and np.mean(read.values) == pytest.approx(500.5)


def test_frontier_drops_what_costs_more_and_gives_no_more():
    def at(kl, reward):
        return FrontierPoint(run="r", kl=exact(kl), reward=exact(reward))

    assert [p.kl.value for p in pareto([at(1, 0.5), at(1, 0.6), at(2, 0.6), at(5, 0.7)])] == [1, 5]
    assert best_of_n_kl(1) == 0.0 and best_of_n_kl(2) == pytest.approx(math.log(2) - 0.5)


def pairs(n, chosen, rejected, prompt=lambda i: i):
    return [
        Comparison(id=f"c{i}", prompt=(user(f"q{prompt(i)}"),), chosen=chosen(i), rejected=rejected(i))
        for i in range(n)
    ]


def test_reward_quality_by_hand():
    rows = pairs(4, lambda i: "long reply here", lambda i: "short")
    found = reward_quality(rows, [1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], name="RM")
    assert found.accuracy.value == (1 + 1 + 0.5 + 0) / 4 and found.ties == 1 and found.num_prompts == 4
    sigmoid = lambda x: 1 / (1 + math.exp(-x))
    losses = [-math.log(sigmoid(m)) for m in (1, 2, 0, -1)]
    assert found.log_loss.value == pytest.approx(np.mean(losses))
    # bins of 0.05 from 0.5: {0.5: right .5}, {0.731 twice: right 1 and 0}, {0.881: right 1}
    ece = (abs(0.5 - 0.5) + 2 * abs(sigmoid(1) - 0.5) + abs(sigmoid(2) - 1)) / 4
    assert found.ece.value == pytest.approx(ece)
    longer, shorter = found.baselines
    assert (longer.name, longer.accuracy.value, shorter.accuracy.value) == ("longer reply", 1.0, 0.0)
    assert longer.gain.value == -0.375
    assert math.isnan(found.length_partial.value)  # every pair differs by the same length
    assert found.human_agreement is None
    assert found.sentence().startswith("RM agrees with people on 62.5 % of 4 comparisons over 4 prompts")


def test_a_reward_that_is_length_shows_its_bias_and_does_not_beat_length():
    rng = np.random.default_rng(0)
    a, b = rng.integers(5, 80, size=300), rng.integers(5, 80, size=300)
    rows = pairs(300, lambda i: "x" * a[i], lambda i: "x" * b[i])
    found = reward_quality(rows, (a / 10).tolist(), (b / 10).tolist(), name="RM")
    assert found.length_partial.value == pytest.approx(1.0)
    assert found.length_correlation.value == pytest.approx(1.0)
    longer, shorter = found.baselines
    assert longer.p_value == 1.0 and longer.gain.value == 0
    assert longer.sentence("RM").startswith("No difference shown")
    honest = reward_quality(rows, rng.normal(1, 1, 300).tolist(), rng.normal(0, 1, 300).tolist(), name="RM")
    assert abs(honest.length_partial.value) < 0.15
    assert honest.baselines[1].gain.low > 0 and "more often" in honest.baselines[1].sentence("RM")
    assert shorter.accuracy.value == pytest.approx(1 - longer.accuracy.value)


def test_gain_over_a_baseline_is_tested_by_prompt():
    rows = pairs(40, lambda i: "aa", lambda i: "bb", prompt=lambda i: i // 10)  # 4 prompts, equal lengths
    found = reward_quality(rows, [1.0] * 40, [0.0] * 40)
    assert found.num_prompts == 4 and found.accuracy.count == 4
    assert found.baselines[0].accuracy.value == 0.5
    assert found.baselines[0].p_value == pytest.approx(2 / 16)  # not 2 / 2^40


def test_the_interval_of_the_calibration_error_reaches_down_to_none():
    """Of scores that are well calibrated: resampling adds noise to the error, so that its percentiles lie above the truth."""
    rng, rows = np.random.default_rng(0), pairs(200, lambda i: "aa", lambda i: "bb")
    size = np.abs(rng.normal(0, 1.5, 200))
    right = rng.random(200) < 1 / (1 + np.exp(-size))
    found = reward_quality(rows, np.where(right, size, -size).tolist(), [0.0] * 200).ece
    assert found.low < 0.02 < found.value <= found.high < 0.2


def test_bag_of_words_learns_the_word_and_refuses_a_leak():
    rng = np.random.default_rng(1)
    noise = lambda: " ".join(rng.choice(["red", "tree", "runs", "old", "water"], size=6))
    train = pairs(120, lambda i: noise() + " kindly", lambda i: noise() + " rudely")
    test = pairs(60, lambda i: noise() + " kindly", lambda i: noise() + " rudely", prompt=lambda i: 1000 + i)
    odds = bag_of_words(train, test)
    assert (odds > 0).all()
    flipped = [c.replace(chosen=c.rejected, rejected=c.chosen) for c in test]
    assert bag_of_words(train, flipped) == pytest.approx(-odds)  # order of the replies cannot matter
    found = reward_quality(test, [0.0] * 60, [1.0] * 60, train=train)
    assert [b.name for b in found.baselines] == ["longer reply", "shorter reply", "bag of words"]
    assert found.baselines[2].accuracy.value == 1.0 and "less often" in found.baselines[2].sentence("RM")
    with pytest.raises(DataError, match="training part"):
        reward_quality(train[:5], [0.0] * 5, [1.0] * 5, train=train)


def test_human_agreement_by_hand():
    def vote(labeler, chosen, rejected, q="q"):
        return Comparison(id=labeler + q, prompt=(user(q),), chosen=chosen, rejected=rejected, labeler=labeler)

    three = [vote("ann", "a", "b"), vote("bob", "a", "b"), vote("cid", "b", "a")]  # 1 of 3 pairs of people agree
    found = human_agreement([*three, vote("ann", "x", "y", q="other")])
    assert found is not None and found.value == pytest.approx(1 / 3) and found.count == 1
    assert human_agreement(three[:1]) is None


def test_scores_that_do_not_line_up_or_are_not_finite_are_refused():
    rows = pairs(2, lambda i: "a", lambda i: "b")
    with pytest.raises(DataError, match="line up"):
        reward_quality(rows, [1.0], [0.0, 0.0])
    with pytest.raises(DataError, match="finite") as error:
        reward_quality(rows, [1.0, math.nan], [0.0, 0.0])
    assert "c1" in str(error.value)


def test_length_correlation_against_scipy():
    rng = np.random.default_rng(3)
    a, b = rng.integers(5, 30, size=50), rng.integers(5, 30, size=50)
    rows = pairs(50, lambda i: "x" * a[i], lambda i: "x" * b[i])
    s, t = rng.normal(size=50) + a / 9, rng.normal(size=50) + b / 9
    found = reward_quality(rows, s.tolist(), t.tolist())
    theirs = stats.spearmanr(np.concatenate([s, t]), np.concatenate([a, b])).statistic
    assert found.length_correlation.value == pytest.approx(theirs)
    assert found.length_partial.value == pytest.approx(stats.pearsonr(s - t, a - b).statistic)
