"""The package's environments: rules by brute force, checks, seeds, and what a recipe may say of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest

from amenable.errors import ConfigError, RolloutError
from amenable.rollout.engine import OnProgress, OnToken, Request, Token
from amenable.rollout.environment import Board, Environment, ForOther, Observation, Step, play, random_stream, turns
from amenable.rollout.environments import arithmetic, instructions, tictactoe
from amenable.rollout.environments.load import BUILT_IN, load_environment
from amenable.rollout.environments.tictactoe import EMPTY, TicTacToe, after, best_moves, free, over, show, value, winner
from amenable.stages.episodes import figures, tokenizer_for
from amenable.types import Message, Rollout, Sampling


def reachable() -> set[str]:
    """Every board that can arise in a game, found from the rules alone."""
    seen, open_ = {EMPTY}, [EMPTY]
    while open_:
        board = open_.pop()
        for move in () if over(board) else free(board):
            if (further := after(board, move)) not in seen:
                seen.add(further)
                open_.append(further)
    return seen


def tell(name: str, **settings: Any) -> Environment:
    return load_environment({"name": name, **settings})()


class Speaker:
    """An engine that says what a function of the prompt's text gives, one token each time."""

    policy_version, context = 3, 64

    def __init__(self, say: Any) -> None:
        self.tokenizer, self.say, self.asked = tokenizer_for({"name": "tictactoe"}), say, 0

    def generate(
        self, requests: Sequence[Request], *, on_token: OnToken | None = None, on_progress: OnProgress | None = None
    ) -> list[Rollout]:
        self.asked += 1
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Rollout:
        board = self.tokenizer.decode(request.prompt_ids[-5:-2])
        word = self.say(board, request.seed)
        return Rollout(
            prompt=request.prompt,
            prompt_ids=request.prompt_ids,
            response_ids=(self.tokenizer.encode(word)[0],),
            logprobs=(-0.5,),
            text=word,
            finish="length",
        )

    def stream(self, request: Request) -> Iterator[Token]:
        raise NotImplementedError

    def load_weights(self, version: int) -> None: ...


def as_board(shown: str) -> str:
    return "".join("." if sign.isdigit() else sign for sign in shown.replace("\n", ""))


def perfect(shown: str, seed: int) -> str:
    return str(Random(seed).choice(best_moves(as_board(shown))) + 1)


def any_legal(shown: str, seed: int) -> str:
    return str(Random(seed).choice(free(as_board(shown))) + 1)


# the rules


def test_the_rules_of_the_game_by_brute_force() -> None:
    boards = reachable()
    assert len(boards) == 5478
    ended = [board for board in boards if over(board)]
    assert len(ended) == 958
    assert [sum(winner(board) == side for board in ended) for side in ("X", "O", None)] == [626, 316, 16]
    assert value(EMPTY) == 0 and best_moves(EMPTY) == tuple(range(9))


def test_perfect_play_agrees_with_a_plain_search_by_side() -> None:
    def result(board: str) -> int:  # from X's view, without sharing code with `value`
        lines = [board[i : i + 3] for i in (0, 3, 6)] + [board[i::3] for i in (0, 1, 2)] + [board[::4], board[2:7:2]]
        if "XXX" in lines or "OOO" in lines:
            return 1 if "XXX" in lines else -1
        if "." not in board:
            return 0
        side = "XO"[board.count("X") - board.count("O")]
        results = [result(board[:i] + side + board[i + 1 :]) for i in range(9) if board[i] == "."]
        return max(results) if side == "X" else min(results)

    for board in list(reachable())[::97]:
        own = 1 if board.count("X") == board.count("O") else -1
        assert value(board) == own * result(board), board


def test_minimax_never_loses_and_picks_any_best_move() -> None:
    replies = set()
    for seed in range(300):
        world = tell("tictactoe", opponent="minimax")
        shown, draw, outcome = world.reset(seed), Random(seed), Step("", 0.0, False)
        if "O" not in str(shown) and "X" in str(shown):
            replies.add(str(shown))
        while not outcome.done:
            outcome = world.step(any_legal(str(shown), draw.randrange(10**6)))
            shown = outcome.observation  # type: ignore[assignment]
        assert not outcome.info["won"]
    assert len(replies) == 9  # as X it opens anywhere: every opening draws


# one game


def test_rewards_and_ends() -> None:
    world = TicTacToe(tictactoe.Config(opponent="random", side="X", win=2.0, draw=0.5, loss=-3.0, illegal=-4.0))
    seen = {}
    for seed in range(200):
        shown, outcome, draw = world.reset(seed), Step("", 0.0, False), Random(seed)
        while not outcome.done:
            outcome = world.step(any_legal(str(shown), draw.randrange(10**6)))
            assert outcome.done or outcome.reward == 0.0
            shown = outcome.observation  # type: ignore[assignment]
        ending = next(name for name in ("won", "drawn", "lost") if outcome.info[name])
        champion = winner(world.board)
        assert ending == {"X": "won", "O": "lost", None: "drawn"}[champion]
        seen[ending] = outcome.reward
    assert seen == {"won": 2.0, "drawn": 0.5, "lost": -3.0}
    for word in ("", "0", "10", "X", "five", "1 2"):
        world.reset(0)
        assert world.step(word) == Step("", -4.0, True, world.step.__self__._end("illegal").info)
    world.reset(0)
    taken = str(world.board.index("O") + 1) if "O" in world.board else "1"
    world.step("1")
    assert world.step("1").info["illegal"] and taken


def test_the_sides_are_even_and_the_opponents_mixed() -> None:
    world = TicTacToe(tictactoe.Config(opponent="random+minimax+minimax"))
    drawn = []
    for seed in range(3000):
        world.reset(seed)
        drawn.append((world.side, world.opponent))
    assert abs(sum(side == "X" for side, _ in drawn) / 3000 - 1 / 2) < 0.03
    assert abs(sum(opponent == "minimax" for _, opponent in drawn) / 3000 - 2 / 3) < 0.03


def test_one_seed_one_game_whatever_was_played_before() -> None:
    def record(world: Environment, seed: int) -> list[Any]:
        said: list[Any] = [world.reset(seed)]
        while True:
            step = world.step(any_legal(str(said[-1]), seed + len(said)))
            said.append(step.observation)
            if step.done:
                return [*said, step.info]

    fresh = [record(tell("tictactoe", opponent="random+minimax"), seed) for seed in range(20)]
    used = tell("tictactoe", opponent="random+minimax")
    assert [record(used, seed) for seed in reversed(range(20))] == fresh[::-1]
    assert len({str(game) for game in fresh}) > 15


def test_streams_of_other_names_or_seeds_are_unrelated() -> None:
    draws = {(seed, name): random_stream(seed, name).random() for seed in range(50) for name in ("moves", "side")}
    assert len(set(draws.values())) == 100


# a game as an episode


def test_an_episode_marks_the_policys_moves_and_rewards_the_last() -> None:
    engine = Speaker(perfect)
    worlds = [tell("tictactoe", opponent="random") for _ in range(60)]
    rollouts = play(engine, worlds, Sampling(max_tokens=1), engine.tokenizer)
    assert engine.asked <= 5
    for rollout in rollouts:
        info = rollout.prompt.meta["info"]
        spans = turns(rollout)
        assert len(spans) == info["moves"] and all(end - start == 1 for start, end in spans)
        assert rollout.own is not None and rollout.token_rewards is not None and rollout.own[-1]
        assert rollout.token_rewards[-1] == (1.0 if info["won"] else 0.0) and not any(rollout.token_rewards[:-1])
        assert not info["lost"] and not info["illegal"] and rollout.finish == "stop"
        assert rollout.text.split("\n") == [engine.tokenizer.decode(rollout.response_ids[a:b]) for a, b in spans]
    told = figures(rollouts)
    assert told["environment/won"] > 0.8 and told["environment/lost"] == 0.0


def test_against_itself_only_one_side_is_learned_from() -> None:
    engine = Speaker(any_legal)
    worlds = [TicTacToe(tictactoe.Config(opponent="self")) for _ in range(80)]
    rollouts = play(engine, worlds, Sampling(max_tokens=1), engine.tokenizer)
    sides = set()
    for world, rollout in zip(worlds, rollouts, strict=True):
        info = rollout.prompt.meta["info"]
        mine = world.board.count(info["side"])
        sides.add(info["side"])
        assert rollout.own is not None and sum(rollout.own) == mine == info["moves"]
        assert rollout.token_rewards is not None
        want = {"won": 1.0, "drawn": 0.0, "lost": -1.0}[next(n for n in ("won", "drawn", "lost") if info[n])]
        own_last = [r for r, own in zip(rollout.token_rewards, rollout.own, strict=True) if own][-1]
        assert own_last == want == sum(rollout.token_rewards)
    assert sides == {"X", "O"}
    assert {r.prompt.meta["info"]["lost"] for r in rollouts} == {True, False}  # the other side can bring the end about


def test_against_itself_the_other_sides_nonsense_becomes_a_random_move() -> None:
    world = TicTacToe(tictactoe.Config(opponent="self", side="O"))
    first = world.reset(3)
    assert isinstance(first, ForOther) and first.observation == show(EMPTY)
    step = world.step("nonsense")
    assert not step.done and world.board.count("X") == 1 and isinstance(step.observation, str)


def test_the_rules_are_told_once_to_each_side() -> None:
    world = TicTacToe(tictactoe.Config(opponent="self", side="X", rules=True))
    first = world.reset(0)
    assert isinstance(first, tuple) and [m.role for m in first] == ["system", "user"]
    other = world.step("5").observation
    assert isinstance(other, ForOther) and isinstance(other.observation, tuple)
    assert isinstance(world.step("1").observation, str)


def test_a_person_sees_the_board_and_hears_why_a_move_is_none() -> None:
    world = TicTacToe(tictactoe.Config(opponent="self", side="O"))
    world.reset(0)
    assert isinstance(world, Board) and world.picture().splitlines()[0] == " 1 │ 2 │ 3 "
    assert world.objection("5") is None
    world.step("5")
    world.step("1")
    assert world.objection("5") == "square 5 is taken; free are 2, 3, 4, 6, 7, 8, 9"
    assert "'ten' is no square" in (world.objection("ten") or "")


def test_a_board_is_three_tokens_and_a_move_is_one() -> None:
    tokenizer = tokenizer_for({"name": "tictactoe"})
    assert tokenizer.vocab_size < 96
    for board in reachable():
        ids = tokenizer.encode(show(board))
        assert len(ids) == 3 and tokenizer.decode(ids) == show(board)
    assert [len(tokenizer.encode(str(n))) for n in range(1, 10)] == [1] * 9


class Unbounded(TicTacToe):
    """Gives what is no reward."""

    def step(self, text: str) -> Step:
        return Step("", float("nan"), done=True)


def test_a_reward_that_is_no_number_stops_the_run() -> None:
    engine = Speaker(any_legal)
    with pytest.raises(RolloutError, match="the reward nan"):
        play(engine, [Unbounded(tictactoe.Config())], Sampling(max_tokens=1), engine.tokenizer)


@pytest.mark.parametrize(
    ("begins", "answer", "match"),
    [
        ("1", None, "None for a turn"),
        ("1", ("2", 1.0, True), "for a turn"),
        ("1", Step("2", None, done=True), "the reward None"),  # type: ignore[arg-type]
        ("1", Step(None, 1.0, done=False), "said None"),  # type: ignore[arg-type]
        (7, Step("2", 1.0, done=True), "said 7"),
        (["1"], Step("2", 1.0, done=True), "said"),
    ],
)
def test_what_an_environment_must_not_give_is_named(begins: Any, answer: Any, match: str) -> None:
    engine, world = Speaker(any_legal), TicTacToe(tictactoe.Config())
    world.reset, world.step = lambda seed: begins, lambda text: answer  # type: ignore[method-assign]
    with pytest.raises(RolloutError, match=match) as caught:
        play(engine, [world], Sampling(max_tokens=1), engine.tokenizer)
    assert caught.value.where == "tictactoe, episode 0"


class LastWord(TicTacToe):
    """Two turns at most, the other player's reply to the last one included."""

    max_turns = 2


def test_the_other_player_answers_the_last_turn_too() -> None:
    engine = Speaker(any_legal)
    worlds = [LastWord(tictactoe.Config(opponent="self", side="X")) for _ in range(10)]
    for world, rollout in zip(worlds, play(engine, worlds, Sampling(max_tokens=1), engine.tokenizer), strict=True):
        assert (world.board.count("X"), world.board.count("O")) == (2, 2) and rollout.finish == "length"
        assert rollout.own is not None and sum(rollout.own) == 2


# arithmetic


def test_sums_are_right_and_checked() -> None:
    world = arithmetic.Arithmetic(arithmetic.Config(operations="+-*", largest=12))
    signs = set()
    for seed in range(300):
        question = world.reset(seed)
        assert isinstance(question, str)
        signs |= set(question) & set("+-*")
        right = eval(question.removesuffix("="))
        assert world.step(f"That makes {right}.").reward == 1.0
        world.reset(seed)
        wrong = world.step(str(right + 1))
        assert wrong.done and wrong.reward == 0.0 and wrong.info["right"] is False
    assert signs == set("+-*")


def test_a_further_attempt_earns_half() -> None:
    world = arithmetic.Arithmetic(arithmetic.Config(attempts=3))
    world.reset(1)
    first = world.step("no idea")
    assert not first.done and first.observation == "wrong" and first.reward == 0.0
    assert world.step(str(world.answer)) == Step(
        "", 0.5, True, {"right": True, "tries": 2, "answer": str(world.answer)}
    )
    world.reset(1)
    assert [world.step("x").done for _ in range(3)] == [False, False, True]


def test_a_list_of_guesses_counts_as_its_last() -> None:
    assert arithmetic.last_number("1 2 3 4 5") == 5 and arithmetic.last_number("12.5") is None
    assert arithmetic.last_number("−3") == -3 and arithmetic.last_number("9" * 5000) is None


# instructions

FOLLOWED = {
    "fewest_words": "word " * 45,
    "most_words": "Short.",
    "sentences": None,
    "avoid": "A plain answer.",
    "small": "only small letters here.",
    "capitals": "ONLY CAPITALS HERE.",
    "no_comma": "No such sign here.",
    "question": "Is it late?",
    "quoted": '"All of it."',
    "title": "<<A Title>>\nAnd text.",
    "postscript": "Text.\nP.S. More.",
    "gap": "Dear [name].",
}
BROKEN = {
    "fewest_words": "Too few.",
    "most_words": "word " * 45,
    "avoid": "",
    "small": "Not Small.",
    "capitals": "Not capitals.",
    "no_comma": "One, two.",
    "question": "It is late.",
    "quoted": 'He said "no".',
    "title": "A Title\nAnd text.",
    "postscript": "P.S. First.\nThen more.",
    "gap": "Dear [name] and [name].",
}


def drawn(kind: str, seed: int = 0) -> instructions.Instruction:
    return instructions.draw_instructions(Random(seed), (kind,), 1)[0]


@pytest.mark.parametrize("kind", sorted(set(FOLLOWED) & set(BROKEN)))
def test_each_check_tells_followed_from_broken(kind: str) -> None:
    for seed in range(5):
        assert drawn(kind, seed).check(FOLLOWED[kind]), kind
        assert not drawn(kind, seed).check(BROKEN[kind]), kind


def quoted(text: str) -> list[str]:
    return [part for i, part in enumerate(text.split('"')) if i % 2]


@pytest.mark.parametrize("seed", range(5))
def test_checks_hold_to_what_their_text_says(seed: int) -> None:
    number = next(int(w.strip(".")) for w in drawn("sentences", seed).text.split() if w.strip(".").isdigit())
    assert drawn("sentences", seed).check("One more here. " * number)
    assert not drawn("sentences", seed).check("One more here. " * (number + 1))
    word = quoted(drawn("include", seed).text)[0]
    assert drawn("include", seed).check(f"The {word.upper()}, then.") and not drawn("include", seed).check(word + "s")
    one, two = quoted(drawn("include_two", seed).text)
    assert drawn("include_two", seed).check(f"{one} {two}") and not drawn("include_two", seed).check(one)
    word, times = quoted(drawn("repeat", seed).text)[0], int(drawn("repeat", seed).text.split()[-2])
    assert [drawn("repeat", seed).check(f"{word} " * n) for n in (times - 1, times, times + 1)] == [False, True, False]
    letter, least = quoted(drawn("letter", seed).text)[0], int(drawn("letter", seed).text.split()[-2])
    assert [drawn("letter", seed).check(letter * n) for n in (least - 1, least)] == [False, True]
    low = int(drawn("word_range", seed).text.split()[1])
    got = [drawn("word_range", seed).check("word " * n) for n in (low - 1, low, low + 10, low + 11)]
    assert got == [False, True, True, False]
    begin = quoted(drawn("begin", seed).text)[0]
    assert drawn("begin", seed).check(f"{begin}, they say.") and not drawn("begin", seed).check(f"They say {begin}.")
    end = quoted(drawn("end", seed).text)[0]
    assert drawn("end", seed).check(f"So it was. {end}\n") and not drawn("end", seed).check(f"{end} So it was.")
    many = int(drawn("bullets", seed).text.split()[4])
    assert [drawn("bullets", seed).check("- a point\n" * n) for n in (many, many + 1)] == [True, False]
    many = int(drawn("numbered", seed).text.split()[4])
    listed = [f"{i + 1}. a point" for i in range(many)]
    assert drawn("numbered", seed).check("\n".join(listed)) and not drawn("numbered", seed).check(
        "\n".join(listed[::-1])
    )
    many = int(drawn("paragraphs", seed).text.split()[1])
    assert [drawn("paragraphs", seed).check("\n\n".join(["text"] * n)) for n in (many, many - 1)] == [True, False]
    key = quoted(drawn("json", seed).text)[0]
    assert drawn("json", seed).check(f'{{"{key}": 1}}') and not drawn("json", seed).check(f'Here: {{"{key}": 1}}')
    assert not drawn("json", seed).check("[" * 100_000)


@pytest.mark.parametrize("kind", sorted(instructions.KINDS))
def test_silence_follows_no_instruction(kind: str) -> None:
    assert not any(drawn(kind, seed).check(text) for seed in range(20) for text in ("", " \n "))


def test_requests_hold_no_two_of_a_group_and_nothing_beside_what_stands_alone() -> None:
    kinds_seen, counts = set(), set()
    for seed in range(2000):
        wanted = instructions.draw_instructions(Random(seed), (), 4)
        kinds = [one.kind for one in wanted]
        groups = [instructions.KINDS[kind].group for kind in kinds]
        assert len(set(groups)) == len(groups) and (instructions.ALONE not in groups or len(groups) == 1)
        assert not any(pair <= set(kinds) for pair in instructions.APART)
        kinds_seen |= set(kinds)
        counts.add(len(kinds))
    assert kinds_seen == set(instructions.KINDS) and counts == {1, 2, 3, 4}


def test_the_reward_is_the_share_followed_or_all_or_nothing() -> None:
    for reward, want in (("share", 0.5), ("all", 0.0)):
        world = instructions.Instructions(instructions.Config(kinds=("small", "question"), reward=reward))
        seed = next(s for s in range(50) if isinstance(world.reset(s), str) and len(world.wanted) == 2)
        request = world.reset(seed)
        assert isinstance(request, str) and "small letters" in request and "question" in request
        step = world.step("Is it late?")
        assert step.done and step.reward == want
        assert step.info["kind/question"] is True and step.info["kind/small"] is False and step.info["all"] is False


# naming one


class Echo:
    """A world of the user's own, without settings."""

    name, max_turns = "echo", 1
    pieces = ("ab", "c")

    def reset(self, seed: int) -> Observation:
        return (Message(role="user", content="say c"),)

    def step(self, text: str) -> Step:
        return Step("", float(text == "c"), done=True)


class Lacking:
    name = "lacking"


def test_a_class_of_the_users_own_is_an_environment() -> None:
    world = tell("tests.test_environments:Echo")
    assert world.step("c").reward == 1.0
    assert tokenizer_for({"name": "tests.test_environments:Echo"}).vocab_size == 9


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_environment_keeps_the_protocol(name: str) -> None:
    world = tell(name)
    assert world.name == name and world.max_turns >= 1
    for seed in range(30):
        first = world.reset(seed)
        assert isinstance(first, str) and first
        for _ in range(world.max_turns):
            step = world.step("7")
            if step.done:
                break
        assert step.done and step.info


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"name": "tictacto"}, "did you mean 'tictactoe'"),
        ({}, "no environment is named"),
        ({"name": "tictactoe", "opponent": "minmax"}, "did you mean 'minimax'"),
        ({"name": "tictactoe", "oponent": "minimax"}, "opponent"),
        ({"name": "tictactoe", "side": "Y"}, "environment.side"),
        ({"name": "arithmetic", "operations": "+/"}, "'/' is no operation"),
        ({"name": "arithmetic", "question": "{a} plus {b}"}, "lacks {op}"),
        ({"name": "instructions", "kinds": ["capital"]}, "did you mean 'capitals'"),
        ({"name": "nowhere:World"}, "no module named 'nowhere'"),
        ({"name": "tests.test_environments:Eco"}, "did you mean Echo"),
        ({"name": "tests.test_environments:Lacking"}, "lacks max_turns, reset, step"),
        ({"name": "tests.test_environments:Echo", "size": 3}, "has no settings"),
    ],
)
def test_mistakes_are_named(section: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_environment(section)
    assert said in str(caught.value), caught.value


def test_a_new_model_needs_pieces() -> None:
    with pytest.raises(ConfigError, match="pieces"):
        tokenizer_for({"name": "instructions"})
