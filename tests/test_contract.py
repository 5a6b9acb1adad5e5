"""The contract tests: run over every file in algorithms/ (and over PPO's and others' settings that change its shape)."""

from __future__ import annotations

import doctest
import math

import msgspec
import pytest
import torch

from amenable.batch import concatenate
from amenable.errors import ConfigError
from amenable.stages.build import make_algorithm
from amenable.stages.episodes import NoScore
from amenable.train import contract
from amenable.train.loop import accumulate, learn, prepare_batches
from amenable.train.split import divide, micro_batches, split

from .contract import batches_of, gradients, make, progress_of, rows, untrained

VARIANTS = {
    "ppo": [
        {"ptx_weight": 0.5},
        {"critic": "shared"},
        {"kl_in": "loss", "kl_estimator": "exact", "entropy_weight": 0.01},
        {"kl_in": "loss", "kl_estimator": "k2", "truncated": "mask"},
        {"truncated": "bootstrap", "whiten_rewards": True, "kl_target": 3.0, "dual_clip": 3.0},
    ],
    "dpo": [{"variant": "hinge"}, {"variant": "robust", "label_smoothing": 0.1}, {"sft_weight": 0.2}],
    "reward_ranking": [{"ties": "davidson"}, {"ties": "rao-kupper"}, {"likelihood": "plackett-luce"}],
    "reward_pairwise": [{"use_margin": True, "centering": 0.0}],
    "sft": [{"mean": "response"}, {"ptx_weight": 0.5}],
    "classify": [{"label_smoothing": 0.1}],
    "masked_word": [{"whole_words": True, "share": 0.5}, {"masked": 0.0, "random": 1.0}],
    "span_corruption": [{"density": 0.5, "mean_span": 1.0}],
    "grpo": [
        {"normalise": False, "aggregate": "constant", "kl_in": "reward"},
        {"ratio": "sequence", "kl_estimator": "k2"},
        {"ratio": "cispo", "aggregate": "token", "kl_coef": 0.0},
        {"truncated": "mask", "score_clip": 0.5},
    ],
    "rloo": [{"clip": None, "truncated": "score"}],
    "reinforce": [{"baseline": "none"}, {"baseline": "mean", "truncated": "mask", "discount": 0.9}],
    "online_dpo": [{"labels": "soft", "truncated": "score"}],
    "rejection_sampling": [{"keep": 2, "mean": "response", "truncated": "penalty"}],
}
CASES = [(name, {}) for name in contract.names()] + [(n, v) for n, variants in VARIANTS.items() for v in variants]
IDS = [name + "".join(f"-{v}" for v in settings.values()) for name, settings in CASES]
each_case = pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)


def build(name, settings, micro_tokens=10_000):
    config = msgspec.convert(settings, contract.find(name).Config)
    return make(name, config=config, micro_tokens=micro_tokens)


def prepared(name, settings, micro_tokens=10_000):
    algorithm, learner, scorers = build(name, settings, micro_tokens)
    progress = progress_of(algorithm)
    batches, metrics = prepare_batches(algorithm, learner, batches_of(algorithm), progress, scorers)
    return algorithm, learner, progress, batches, metrics


@pytest.mark.parametrize("name", contract.names())
def test_documented(name):
    module = contract.find(name)
    assert module.__doc__ and len(module.__doc__.splitlines()[0]) > 40
    for field in msgspec.structs.fields(module.Config):
        assert "description=" in repr(module.Config.__annotations__[field.name]), f"{name}.Config.{field.name}"
    assert doctest.testmod(module).failed == 0


@each_case
def test_same_gradients_for_any_micro_batches(name, settings):
    whole = prepared(name, settings)
    algorithm, learner, progress, batches, _ = whole
    loss, _, counts = accumulate(algorithm, learner, list(batches.values()), progress.algorithm_state)
    expected = gradients(learner)
    assert math.isfinite(loss) and expected and all(g.isfinite().all() for g in expected.values())
    assert any(g.abs().max() > 1e-6 for g in expected.values())

    algorithm, learner, progress, batches, _ = prepared(name, settings, micro_tokens=12)
    num_micros = sum(len(split(b, max_tokens=12)) for b in batches.values())
    assert num_micros >= 3
    loss_of_micros, _, counts_of_micros = accumulate(
        algorithm, learner, list(batches.values()), progress.algorithm_state
    )
    assert counts_of_micros == counts
    assert loss_of_micros == pytest.approx(loss, abs=1e-10)
    for key, gradient in gradients(learner).items():
        torch.testing.assert_close(gradient, expected[key], atol=1e-10, rtol=0)


@each_case
def test_same_gradients_on_two_ranks(name, settings):
    """Each rank holds half of the units; counts are summed over ranks first, gradients summed after."""
    algorithm, learner, progress, batches, _ = prepared(name, settings)
    _, _, counts = accumulate(algorithm, learner, list(batches.values()), progress.algorithm_state)
    expected = gradients(learner)
    total = {}
    for rank in range(2):
        algorithm, learner, progress, batches, _ = prepared(name, settings)
        for batch in batches.values():
            units = batch.unit_B.unique()
            mine = units[rank::2]
            own = batch.select(torch.nonzero(torch.isin(batch.unit_B, mine))[:, 0])
            state = progress.algorithm_state
            learner.forward_backward(own, lambda o, b, a=algorithm, s=state: a.loss(o, b, s), counts)
        for key, gradient in gradients(learner).items():
            total[key] = total.get(key, 0) + gradient
    for key, gradient in expected.items():
        torch.testing.assert_close(total[key], gradient, atol=1e-10, rtol=0)


@each_case
def test_padding_and_order_change_nothing(name, settings):
    algorithm, learner, progress, batches, _ = prepared(name, settings)
    loss, _, _ = accumulate(algorithm, learner, list(batches.values()), progress.algorithm_state)
    algorithm, learner, progress, batches, _ = prepared(name, settings)
    turned = []
    for batch in batches.values():
        units = batch.unit_B.unique().flip(0).tolist()
        turned.append(batch.select([i for u in units for i in torch.nonzero(batch.unit_B == u)[:, 0].tolist()]))
    loss_of_turned, _, _ = accumulate(algorithm, learner, turned, progress.algorithm_state)
    assert loss_of_turned == pytest.approx(loss, abs=1e-10)


@each_case
def test_empty_mask_gives_zero_and_live_gradients(name, settings):
    algorithm, learner, progress, batches, _ = prepared(name, settings)
    if {"scalar", "classes", "number"} & set(algorithm.trains.values()):
        pytest.skip("a score belongs to a row, not to trained tokens")
    empty = [untrained(batch) for batch in batches.values()]
    if algorithm.unit == "pair" or name in ("kto", "online_dpo"):
        # preferences of empty responses: log-ratios are 0 and the gradient is exactly zero
        accumulate(algorithm, learner, empty, progress.algorithm_state)
        assert all(g.abs().max() == 0 for g in gradients(learner).values())
        return
    loss, _, counts = accumulate(algorithm, learner, empty, progress.algorithm_state)
    assert loss == 0.0 and all(count == 0 for count in counts.values())
    assert gradients(learner), "the graph must stay alive"
    assert all(g.isfinite().all() and g.abs().max() == 0 for g in gradients(learner).values())


@each_case
def test_a_step_moves_every_trained_role_and_lowers_an_offline_loss(name, settings):
    algorithm, learner, progress, batches, _ = prepared(name, settings)
    first, _, _ = accumulate(algorithm, learner, list(batches.values()), progress.algorithm_state)
    before = {key: p.detach().clone() for key, p in learner.parameters()}
    learner.clear_gradients()
    for _ in range(8):
        learn(algorithm, learner, batches, progress, rate=3.0)
    moved = {key.split("/")[0] for key, p in learner.parameters() if not torch.equal(p, before[key])}
    assert moved == set(algorithm.trains)
    if not algorithm.online:
        last, _, _ = accumulate(algorithm, learner, list(batches.values()), progress.algorithm_state)
        assert last < first


@each_case
def test_a_non_finite_batch_is_skipped_and_changes_nothing(name, settings):
    algorithm, learner, progress, batches, _ = prepared(name, settings)
    before = {key: p.detach().clone() for key, p in learner.parameters()}
    role = next(iter(learner.actors))
    with torch.no_grad():
        poisoned = next(p for _, p in learner.parameters())
        kept = poisoned.clone()
        poisoned.fill_(float("nan"))
    metrics = learn(algorithm, learner, batches, progress, rate=1.0)
    assert metrics["skipped"] == 1.0 and learner.version == 0, role
    with torch.no_grad():
        poisoned.copy_(kept)
    assert all(torch.equal(p, before[key]) for key, p in learner.parameters())
    assert not any(optimizer.state for optimizer in learner.optimizers)


def test_needs_columns_are_equal_however_rows_are_padded():
    _, learner, _, batches, _ = prepared("ppo", {})
    batch = batches["rollouts"]
    alone = [learner.evaluate("policy", batch.select([i]), ("logprobs",)).logprobs_BT for i in range(batch.num_rows)]
    for i, row in enumerate(alone):
        torch.testing.assert_close(row[0], batch["policy.logprobs"][i, : row.shape[1]], atol=1e-10, rtol=0)


def test_ppo_first_ratio_is_one():
    algorithm, learner, progress, batches, _ = prepared("ppo", {})
    _, metrics, _ = accumulate(algorithm, learner, list(batches.values()), progress.algorithm_state)
    total, count = metrics["ratio"]
    assert total / count == pytest.approx(1.0, abs=1e-9)
    assert metrics["clip_fraction"][0] == 0


def test_ppo_kl_metric_is_the_policys_own():
    _, _, _, batches, metrics = prepared("ppo", {})
    batch = batches["rollouts"]
    expected = ((batch["policy.logprobs"] - batch["reference.logprobs"]) * batch.trained_BT).sum(1).mean()
    assert metrics["kl"] == pytest.approx(float(expected), abs=1e-6)


def test_ppo_truncated_choices_differ():
    returns = {}
    for choice in ("penalty", "mask", "bootstrap", "score"):
        _, _, _, batches, _ = prepared("ppo", {"truncated": choice})
        returns[choice] = batches["rollouts"]
    unfinished = returns["penalty"]["finished"] == 0
    assert not returns["mask"].trained_BT[unfinished].any()
    assert returns["mask"].trained_BT[~unfinished].any()
    sums = {k: float(b["returns"][unfinished].sum()) for k, b in returns.items() if k != "mask"}
    assert len({round(v, 6) for v in sums.values()}) == 3, sums


def test_ppo_adaptive_coefficient_by_hand():
    """Ziegler et al. 2019: error clipped to 0.2, coefficient x (1 + 0.2 * 8 / 100)."""
    module = contract.find("ppo")
    config = module.Config(kl_coef=0.1, kl_target=1.0, kl_horizon=100)
    state, stop = module.after_step(module.initial_state(config), {"kl": 9.0, "num_responses": 8.0}, config)
    assert state.kl_coef == pytest.approx(0.1016) and stop is None
    state, _ = module.after_step(state, {"kl": 0.9, "num_responses": 8.0}, config)
    assert state.kl_coef == pytest.approx(0.1016 * (1 - 0.1 * 8 / 100))


def test_ppo_adaptive_coefficient_keeps_its_sign():
    """A step of more responses than the horizon adapts as one of just so many; a coefficient below 0 would pay for KL."""
    module = contract.find("ppo")
    config = module.Config(kl_coef=0.1, kl_target=1.0, kl_horizon=50)
    state, _ = module.after_step(module.initial_state(config), {"kl": 0.0, "num_responses": 512.0}, config)
    assert state.kl_coef == pytest.approx(0.08)


def test_ppo_stops_at_max_kl_and_leaves_updates_out():
    module = contract.find("ppo")
    config = module.Config(max_kl=5.0, max_update_kl=0.01)
    assert "max_kl" in module.after_step(module.initial_state(config), {"kl": 5.1, "num_responses": 8.0}, config)[1]
    assert module.enough({"update_kl": 0.02}, config) and not module.enough({"update_kl": 0.005}, config)


def test_ppo_gives_an_episode_that_is_cut_the_fixed_score_as_a_whole():
    """Rows earned -1 and -2 by turns; the six finished ones -1.5 on average, with a deviation of 0.5."""
    algorithm, learner, scorers = build("ppo", {"kl_coef": 0.0, "whiten_advantages": False})
    batch = batches_of(algorithm)["rollouts"]
    earned_BT = torch.zeros(batch.tokens_BT.shape, dtype=torch.float64)
    earned_BT[torch.arange(8), torch.tensor([3, 2, 4, 3, 2, 5, 4, 1])] = torch.tensor([-1.0, -2] * 4).double()
    scorers["reward"] = NoScore()
    batch = batch.with_columns({"token_rewards": earned_BT})
    ready, metrics = prepare_batches(algorithm, learner, {"rollouts": batch}, progress_of(algorithm), scorers)
    fixed = -(1 + 2 + 2 + 1 + 1 + 2) / 6 - 0.5  # rows 2 and 5 are cut
    whole = ready["rollouts"]["rewards"].sum(1).tolist()
    assert whole == pytest.approx([-1, -2, fixed, -2, -1, fixed, -1, -2])
    assert metrics["score_in_force"] == pytest.approx(sum(whole) / 8)
    assert metrics["score"] == pytest.approx(-1.5) and metrics["score_spread"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "ppo", "kl_target": 0.0}, "kl_target"),
        ({"name": "dpo", "variant": "hinge", "label_smoothing": 0.1}, "no labels to smooth"),
    ],
)
def test_settings_that_no_loss_can_be_made_of_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        make_algorithm(settings, settings["name"], given=("reference", "reward"))


def test_ppo_refuses_k1_in_the_loss():
    with pytest.raises(ConfigError, match="expected gradient of zero"):
        contract.find("ppo").Config(kl_in="loss", kl_estimator="k1")


def test_minibatches_and_inner_epochs_really_update():
    algorithm, learner, progress, batches, _ = prepared("ppo", {})
    learner.config = learner.config.replace(minibatches=2, inner_epochs=3)
    metrics = learn(algorithm, learner, batches, progress, rate=1.0)
    assert metrics["updates"] == 6 and learner.version == 6


def test_kto_zero_point_by_hand():
    """z0 = max(0, mean over mismatched rows of log-ratio); the mismatched rows are gone after prepare."""
    algorithm, learner, scorers = make("kto")
    progress = progress_of(algorithm)
    source = batches_of(algorithm)["labels"]
    arranged = algorithm.arrange(source, torch.Generator().manual_seed(1))
    assert arranged.num_rows == 16 and int(arranged["is_mismatched"].sum()) == 8
    columns = scorers["reference"].columns(arranged, ("logprobs",))
    own = learner.evaluate("policy", arranged, ("logprobs",)).logprobs_BT
    by_hand = (own - columns["reference.logprobs"])[8:].sum(1).mean().clamp_min(0)
    batches, metrics = prepare_batches(algorithm, learner, {"labels": source}, progress, scorers)
    assert metrics["kl_zero_point"] == pytest.approx(float(by_hand), abs=1e-9)
    assert batches["labels"].num_rows == 8


@pytest.mark.parametrize(
    ("name", "minibatches"), [("rejection_sampling", 1), ("rejection_sampling", 4), ("online_dpo", 4)]
)
def test_a_step_that_keeps_no_row_changes_nothing(name, minibatches):
    """Every response was cut at the limit, and cut ones are left out. The step before has given AdamW its momentum."""
    algorithm, learner, progress, batches, _ = prepared(name, {"truncated": "mask"})
    learner.config = learner.config.replace(minibatches=minibatches)
    learn(algorithm, learner, batches, progress, rate=1.0)
    assert any(optimizer.state for optimizer in learner.optimizers)
    before, version = {key: p.detach().clone() for key, p in learner.parameters()}, learner.version
    cut = {s: b.with_columns({"finished": torch.zeros(b.num_rows)}) for s, b in batches_of(algorithm).items()}
    scorers = build(name, {})[2]
    kept, _ = prepare_batches(algorithm, learner, cut, progress, scorers)
    assert kept["rollouts"].num_rows == 0
    metrics = learn(algorithm, learner, kept, progress, rate=1.0)
    assert metrics == {"loss": 0.0, "skipped": 0.0, "updates": 0.0}
    assert learner.version == version and all(torch.equal(p, before[key]) for key, p in learner.parameters())


def test_a_step_of_rows_that_do_not_count_changes_nothing():
    algorithm, learner, progress, batches, _ = prepared("grpo", {"truncated": "mask"})
    learn(algorithm, learner, batches, progress, rate=1.0)
    before = {key: p.detach().clone() for key, p in learner.parameters()}
    metrics = learn(algorithm, learner, {s: untrained(b) for s, b in batches.items()}, progress, rate=1.0)
    assert metrics["updates"] == metrics["loss"] == 0.0
    assert all(torch.equal(p, before[key]) and p.grad is None for key, p in learner.parameters())


def test_a_batch_without_rows_is_one_minibatch_and_no_micro_batch():
    empty = rows([3], [1], [0], "rollouts", {}).select([])
    assert [part.num_rows for part in divide(empty, 4, torch.Generator())] == [0]
    assert micro_batches(empty, max_tokens=9) == []


def test_the_pretraining_mix_is_learned_at_temperature_1():
    """Ouyang et al. 2022, eq. 2: log pi(x) of the text, whatever the temperature that responses are drawn at."""
    found = {}
    for temperature in (1.0, 0.5):
        _, learner, _, batches, _ = prepared("ppo", {"ptx_weight": 0.5})
        learner.temperature = temperature
        seen = {stream: learner.forward(batch)["policy"].logprobs_BT for stream, batch in batches.items()}
        known = {s: learner.evaluate("policy", batch, ("logprobs",)).logprobs_BT for s, batch in batches.items()}
        for stream, logprobs_BT in seen.items():
            torch.testing.assert_close(known[stream], logprobs_BT)
        found[temperature] = seen
    torch.testing.assert_close(found[0.5]["ptx"], found[1.0]["ptx"])
    assert (found[0.5]["rollouts"] - found[1.0]["rollouts"]).abs().max() > 1e-3


def test_kto_mismatched_rows_are_no_longer_than_the_longest_row():
    """A prompt of 10 tokens before a response of 10, where rows are of 12: its first token and its last stay."""
    algorithm, _, _ = make("kto")
    source = rows([12, 12], [10, 2], [0, 1], "labels", {"label": [1, 0]})
    long, short = algorithm.arrange(source, torch.Generator().manual_seed(1)).select([2, 3]).tokens_BT.tolist()
    (one, other), arranged = source.tokens_BT.tolist(), algorithm.arrange(source, torch.Generator().manual_seed(1))
    assert long == [one[0], one[9], *other[2:]]
    assert short[:4] == [*other[:2], *one[10:]] and arranged.length_B.tolist() == [12, 12, 12, 4]
    assert [int(row.long().argmax()) for row in arranged.trained_BT] == [10, 2, 2, 2]
    assert arranged.trained_BT.sum(1).tolist() == [2, 10, 10, 2]


def test_kto_mismatched_rows_keep_their_prompt_and_take_another_response():
    algorithm, _, _ = make("kto")
    source = batches_of(algorithm)["labels"]
    arranged = algorithm.arrange(source, torch.Generator().manual_seed(1))
    starts = [int(source.trained_BT[i].long().argmax()) for i in range(8)]
    responses = [source.tokens_BT[i, s:][source.valid_BT[i, s:]].tolist() for i, s in enumerate(starts)]
    for i in range(8):
        row = arranged.tokens_BT[8 + i][arranged.valid_BT[8 + i]].tolist()
        given = next(r for r in responses if r == row[len(row) - len(r) :] and r != responses[i])
        prompt, kept = source.tokens_BT[i, : starts[i]].tolist(), len(row) - len(given)
        assert row[:kept] == (prompt if kept == starts[i] else [prompt[0], *prompt[starts[i] - kept + 1 :]])
        assert kept == min(starts[i], source.tokens_BT.shape[1] - len(given))


def test_reward_pairwise_first_loss_is_ln_2_with_equal_scores():
    algorithm, learner, _ = make("reward_pairwise")
    with torch.no_grad():
        learner.actors["reward"].head.weight.zero_()
    loss, _, _ = accumulate(algorithm, learner, list(batches_of(algorithm).values()), None)
    assert loss == pytest.approx(math.log(2), abs=1e-12)


def test_a_ranking_without_order_teaches_nothing():
    algorithm, learner, _ = make("reward_ranking")
    batch = batches_of(algorithm)["rankings"]
    flat = batch.with_columns({"tier": torch.zeros(8)})
    loss, _, counts = accumulate(algorithm, learner, [flat], None)
    assert loss == 0 and counts == {"ranking": 0.0}
    both = concatenate([batch, flat])
    loss_of_both, _, counts = accumulate(algorithm, learner, [both], None)
    learner.clear_gradients()
    expected, _, _ = accumulate(algorithm, learner, [batch], None)
    assert counts == {"ranking": 3.0} and loss_of_both == pytest.approx(expected)


def test_unknown_algorithm_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'dpo'"):
        contract.find("dop")


def test_an_algorithm_from_outside_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "my_loss.py").write_text(
        "from amenable.algorithms.sft import *\nfrom amenable.algorithms.sft import Config, counts, feeds, loss, trains, unit\n"
    )
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_loss.py").rename(tmp_path / "my_package" / "my_loss.py")
    (tmp_path / "my_package" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert contract.build("my_package.my_loss").feeds == {"demonstrations": "demonstrations"}
