"""Environments in recipes: every algorithm, resume, learning by reward alone, and `amenable play`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from amenable.cli.main import run
from amenable.cli.play import converse
from amenable.config.folder import WorkspaceFolder
from amenable.errors import ConfigError, RolloutError
from amenable.stages import play
from amenable.stages.episodes import Episodes
from amenable.types import Sampling

from .stage_makers import Toys, assert_same_run, break_and_resume, rows, start, toys, workspace

__all__ = ["toys", "workspace"]

SHAPE = {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "context": 48}
ALGORITHMS = {
    "ppo": {"name": "ppo", "critic": "shared", "kl_coef": 0.0},
    "ppo-own": {"name": "ppo", "kl_coef": 0.0},
    "grpo": {"name": "grpo", "kl_coef": 0.0},
    "rloo": {"name": "rloo", "kl_coef": 0.0},
    "reinforce": {"name": "reinforce", "kl_coef": 0.0},
}


def recipe(kind: str = "ppo", **changes: Any) -> dict[str, Any]:
    """A short run of a new model on tic-tac-toe."""
    return {
        "environment": {"name": "tictactoe", "opponent": "random+minimax+self"},
        "shape": SHAPE,
        "algorithm": ALGORITHMS[kind],
        "sampling": {"max_tokens": 1},
        "responses_per_prompt": 2,
        "sample_every": 2,
        "train": {"steps": 6, "units_per_step": 8, "minibatches": 2, "save_every": 2, "validate_every": 3},
        **changes,
    }


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_goes_on_bit_for_bit(algorithm: str, workspace: WorkspaceFolder) -> None:
    mapping = recipe(algorithm)
    whole = start("ppo", mapping, workspace, "whole")
    again = break_and_resume("ppo", mapping, workspace, step=5)
    assert_same_run(again.path, whole.path)
    found = rows(whole.path)[-1]
    assert found["num_responses"] == 16 and found["kl"] == 0.0
    outcomes = [found[f"environment/{name}"] for name in ("won", "drawn", "lost", "illegal")]
    assert sum(outcomes) == pytest.approx(1.0) and found["score"] == pytest.approx(
        outcomes[0] - outcomes[2] - outcomes[3]
    )
    assert found["validation/environment/illegal"] > 0 and "epoch/rollouts" not in found


def test_a_group_plays_one_world_with_words_of_its_own(workspace: WorkspaceFolder) -> None:
    start("ppo", recipe("rloo", responses_per_prompt=4, environment={"name": "arithmetic"}), workspace, "sums")
    shown = rows(workspace.runs / "sums", "samples.jsonl")
    group = [row for row in shown if row["step"] == 2]
    assert (
        len(group) == 4 and len({row["prompt"] for row in group}) == 1 and len({row["response"] for row in group}) > 1
    )


def test_a_model_that_is_there_plays_too(toys: Toys, workspace: WorkspaceFolder) -> None:
    mapping = recipe(environment={"name": "arithmetic", "attempts": 2}, sampling={"max_tokens": 4})
    mapping |= {"model": toys.sft, "algorithm": {"name": "ppo"}, "reward": "length"}
    del mapping["shape"]
    done = start("ppo", mapping, workspace, "sums")
    assert done.metrics["environment/tries"] > 1 and done.metrics["kl"] != 0.0  # a reward may stand beside the world's


def test_the_inspector_shows_the_board_between_the_moves(workspace: WorkspaceFolder) -> None:
    start("ppo", recipe(), workspace, "games")
    longest = max(rows(workspace.runs / "games", "samples.jsonl"), key=lambda row: len(row["tokens"]))
    assert len(longest["tokens"]) > 8
    own = [value is not None for value in longest["logprobs"]]
    assert own[:8] == [True, *[False] * 7] and longest["tokens"][1:3] == ["<|end|>", "<|user|>"]
    assert all((value is None) != mine for value, mine in zip(longest["advantages"], own, strict=True))
    boards = [token for token, mine in zip(longest["tokens"], own, strict=True) if not mine and "<|" not in token]
    assert len(boards) % 3 == 0 and "".join(boards).count("\n") == len(boards) // 3 * 2


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "reinforce"])
def test_reward_alone_teaches_legal_moves(algorithm: str, workspace: WorkspaceFolder) -> None:
    """Nobody shows a move: the share of episodes lost to illegal ones falls only where the gradient's sign is right."""
    changes = {
        "algorithm": {**ALGORITHMS[algorithm]},
        "environment": {"name": "tictactoe", "opponent": "random", "loss": 0.0},
        "shape": {**SHAPE, "hidden_size": 64},
        "responses_per_prompt": 1,
        "sample_every": 0,
        "num_slots": 256,
        "train": {
            "steps": 40,
            "units_per_step": 256,
            "minibatches": 4,
            "save_every": 0,
            "validate_every": 0,
            "optimizer": {"learning_rate": 3e-3, "schedule": "constant", "epsilon": 1e-5, "weight_decay": 0.0},
        },
    }
    start("ppo", recipe(algorithm, **changes), workspace, "learns")
    found = rows(workspace.runs / "learns")
    assert found[0]["environment/moves"] < 1.3  # 9 of 96 tokens are squares
    assert found[-1]["environment/moves"] > 2 and found[-1]["score"] > found[0]["score"]


def test_episodes_are_numbered_and_their_number_is_the_whole_state() -> None:
    one, other = (Episodes(units_per_step=3, seed=5) for _ in range(2))
    first, second = one.next_units(), one.next_units()
    assert len({*first, *second}) == 6
    assert other.next_units() == first
    other.load_state(one.state())
    assert other.next_units() == one.next_units() != first


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"data": {"train": ["x.jsonl"]}}, "data"),
        ({"max_prompt_tokens": 5}, "max_prompt_tokens"),
        ({"model": "m"}, "model, shape"),
        ({"shape": None}, "model, shape"),
        ({"train": {"steps": 0}}, "train.steps"),
        ({"algorithm": {"name": "ppo", "kl_coef": 0.1}}, "algorithm"),
        ({"lora": {"rank": 2}}, "lora.rank"),
        ({"environment": {"name": "tictactoo"}}, "environment.name"),
        ({"environment": {"name": "instructions"}}, "environment.name"),
        ({"environment": None, "model": "m", "data": {"train": ["x"]}}, "reward"),
        ({"environment": None, "model": "m", "data": {"train": ["x"]}, "reward": "length"}, "shape"),
        ({"environment": None, "shape": None}, "model"),
    ],
)
def test_settings_that_make_no_sense_are_named(changes: dict[str, Any], where: str, workspace: WorkspaceFolder) -> None:
    with pytest.raises(ConfigError) as caught:
        start("ppo", recipe(**changes), workspace, "mine")
    assert caught.value.where == where and not (workspace.runs / "mine").exists()


# amenable play


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> WorkspaceFolder:
    from amenable.config.folder import init_workspace

    folder = init_workspace(tmp_path_factory.mktemp("play") / "workspace")
    start("ppo", recipe(), folder, "games")
    return folder


def test_figures_have_intervals_and_both_sides(
    trained: WorkspaceFolder, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    args = ["--workspace", str(trained.root), "play", "tictactoe", "run:games", "--games", "600", "opponent=minimax"]
    assert run([*args, "--json", "--quiet", "--report", str(tmp_path / "page")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["games"] == 600 and found["settings"] == {"opponent": "minimax"} and found["temperature"] == 1.0
    overall, parts = found["overall"], found["parts"]
    assert sum(overall[name]["value"] for name in ("won", "drawn", "lost", "illegal")) == pytest.approx(1.0)
    assert all(part["low"] <= part["value"] <= part["high"] for part in overall.values())
    assert overall["illegal moves"]["count"] == round(600 * overall["moves"]["value"])
    assert set(parts) == {"side X", "side O"} and sum(part["won"]["count"] for part in parts.values()) == 600
    page = (tmp_path / "page" / "report.html").read_text()
    assert "illegal moves" in page and 'id="inspect"' in page
    assert run(args) == 0
    assert "side O" in capsys.readouterr().out


def test_the_same_seed_plays_the_same_games(trained: WorkspaceFolder) -> None:
    def figures(seed: int) -> Any:
        section = {"name": "tictactoe", "opponent": "self"}
        return play.measure(
            "run:games", section, Sampling(max_tokens=1), workspace=trained, games=64, seed=seed
        ).overall

    assert figures(1) == figures(1) != figures(2)


def lines(*said: str) -> Callable[[], str]:
    waiting: Iterator[str] = iter(said)

    def read() -> str:
        try:
            return next(waiting)
        except StopIteration:
            raise EOFError from None

    return read


def session(folder: WorkspaceFolder, name: str = "tictactoe") -> play.Session:
    return play.Session(play.open_player("run:games", folder), {"name": name}, Sampling(max_tokens=1), seed=4)


class Perfect:
    """Stands for an engine: plays minimax's first best move, and nonsense where it is told to."""

    context, policy_version = 48, 0

    def __init__(self, tokenizer: Any, *, nonsense: bool = False) -> None:
        self.tokenizer, self.nonsense = tokenizer, nonsense

    def generate(self, requests: Any, **options: Any) -> Any:
        from .test_environments import Speaker, perfect

        return Speaker(lambda board, seed: "X" if self.nonsense else perfect(board, seed)).generate(requests)


def test_a_person_plays_and_hears_what_is_wrong(trained: WorkspaceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    game = session(trained)
    game.engine = Perfect(game.policy.tokenizer)  # type: ignore[assignment]
    read = lines("10", "/hlep", "/help", "/side Q", "1", "1", *"23456789" * 3, "/quit")
    converse(game, side="X", read=read)
    said = capsys.readouterr().out
    for words in ("you are X", " 1 │ 2 │ 3 ", "'10' is no square", "did you mean /help", "/side X", "'Q' is no side"):
        assert words in said
    assert "square 1 is taken; free are" in said
    assert "you win" not in said and ("the model wins" in said or "a draw" in said)
    assert sum(game.tally.values()) >= 1 and "the model in" in said


def test_the_models_illegal_move_is_counted(trained: WorkspaceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    game = session(trained)
    game.engine = Perfect(game.policy.tokenizer, nonsense=True)  # type: ignore[assignment]
    converse(game, side="X", read=lines("5", "5", "/new", "/side O", "/quit"))
    said = capsys.readouterr().out
    assert said.count("an illegal move: the model loses") == 2 and "illegal 2" in said


def test_an_environment_for_one_is_watched(trained: WorkspaceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    converse(session(trained, "arithmetic"), side=None, read=lines("", "/quit"))
    said = capsys.readouterr().out
    assert said.count("reward 0; right no") == 2 and said.count("=") >= 2


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["tictacto", "run:games"], "did you mean 'tictactoe'"),
        (["tictactoe", "run:gams"], "games"),
        (["tictactoe", "run:games", "--json"], "--games"),
        (["tictactoe", "run:games", "--games", "9", "--side", "X"], "--side"),
        (["tictactoe", "run:games", "opponent=random"], "you are the opponent"),
        (["tictactoe", "run:games", "--games", "9", "oponent=random"], "opponent"),
    ],
)
def test_mistakes_are_answered(
    args: list[str], words: str, trained: WorkspaceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--workspace", str(trained.root), "play", *args]) in (1, 2)
    assert words in capsys.readouterr().err


def test_what_cannot_be_played_says_why(trained: WorkspaceFolder) -> None:
    section = {"name": "tests.test_stages_environment:Long"}
    with pytest.raises(RolloutError, match="no room"):
        play.measure("run:games", section, Sampling(max_tokens=1), workspace=trained, games=3)


class Long:
    """A world that says more than the model can read."""

    name, max_turns = "long", 1

    def reset(self, seed: int) -> str:
        return "1" * 100

    def step(self, text: str) -> Any:
        raise AssertionError("nobody can have answered")
