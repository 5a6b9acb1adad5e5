"""Tic-tac-toe in text: the board goes in, the number of a square comes out.

    XO3        squares are numbered 1 to 9, row by row; a free square shows its number, so the numbers that are
    4X6        still there are the legal moves
    78O

X begins. Whose turn it is follows from the board: the policy's, always. A word that is no free square's number is an
illegal move: it ends the game as a loss. Rewards stand on the move that earned them: win, draw and loss at the end of
the game, which an opponent's move may bring about, and a penalty for an illegal move.

Opponents: `random` plays any free square; `minimax` plays perfectly and picks by chance among its best moves; `self` is
the policy, which then plays both sides (its illegal moves there are replaced by random ones; it learns from one side).
"random+minimax" draws one of them anew for each game; repeated names weigh more.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from amenable.errors import ConfigError, nearest
from amenable.rollout.environment import ForOther, Observation, Step, random_stream
from amenable.types import Message, Record, user

OPPONENTS = ("random", "minimax", "self")
LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))
EMPTY = "." * 9
PIECES = (
    *"123456789",
    *(
        "".join(signs) + end
        for row, end in (("123", "\n"), ("456", "\n"), ("789", ""))
        for signs in product(*(f"{n}XO" for n in row))
    ),
)
"""Tokens of a model made for the game: a move is one, and so is a row of the board."""
RULES = (
    "You play tic-tac-toe. X begins. A free square shows its number from 1 to 9. "
    "Answer with the number of the free square that you take, and nothing else."
)


class Config(Record, frozen=True):
    """Settings of the environment `tictactoe`."""

    opponent: Annotated[
        str, Meta(description="random, minimax, self, or several joined by +, of which each game draws one")
    ] = "random"
    side: Annotated[Literal["both", "X", "O"], Meta(description="the policy's; both: drawn for each game")] = "both"
    win: Annotated[float, Meta(description="reward of a won game")] = 1.0
    draw: Annotated[float, Meta(description="reward of a drawn game")] = 0.0
    loss: Annotated[float, Meta(description="reward of a lost game")] = -1.0
    illegal: Annotated[float, Meta(description="reward of an illegal move, which ends the game")] = -1.0
    rules: Annotated[bool, Meta(description="tell the rules first, in a system message, to a model that can read")] = (
        False
    )

    def __post_init__(self) -> None:
        for name in self.opponent.split("+"):
            if name not in OPPONENTS:
                near = nearest(name, OPPONENTS)
                raise ConfigError(
                    f"there is no opponent {name!r}",
                    where="environment.opponent",
                    mend=(f"did you mean {near!r}? " if near else "") + f"known: {', '.join(OPPONENTS)}, joined by +",
                )


class TicTacToe:
    """One game at a time."""

    name = "tictactoe"
    max_turns = 5
    turn_tokens = 1
    shares: ClassVar = {"illegal moves": ("illegal", "moves")}
    sides = ("side",)
    pieces = PIECES
    settings = Config

    def __init__(self, config: Config) -> None:
        self.config = config
        self.side, self.board = "X", EMPTY

    def reset(self, seed: int) -> Observation | ForOther:
        """Draw the opponent and the policy's side, each from a stream of its own, and begin."""
        opponents = self.config.opponent.split("+")
        self.opponent = opponents[0] if len(opponents) == 1 else random_stream(seed, "opponent").choice(opponents)
        both = self.config.side == "both"
        self.side = random_stream(seed, "side").choice("XO") if both else self.config.side
        self.moves_of_opponent = random_stream(seed, "moves")
        self.board, self.num_moves = EMPTY, 0
        self.told: set[str] = set()  # sides that have read the rules
        if self.side == "O" and self.opponent != "self":
            self._opponent_moves()
        return self._observation()

    def step(self, text: str) -> Step:
        """Take a move of the side whose turn it is, the policy's or (against itself) the other's."""
        own = to_move(self.board) == self.side
        move = parse_move(text, self.board)
        if own:
            self.num_moves += 1
        if move is None:
            if own:
                return self._end("illegal")
            move = self.moves_of_opponent.choice(free(self.board))
        self.board = after(self.board, move)
        if own and self.opponent != "self" and not over(self.board):
            self._opponent_moves()
        if over(self.board):
            champion = winner(self.board)
            return self._end("drawn" if champion is None else "won" if champion == self.side else "lost")
        return Step(self._observation(), 0.0, done=False)

    def picture(self) -> str:
        """The board with lines."""
        rows = [" │ ".join(row) for row in show(self.board).split("\n")]
        return "\n───┼───┼───\n".join(f" {row} " for row in rows)

    def objection(self, text: str) -> str | None:
        """Why a word is no legal move; None if it is one."""
        if parse_move(text, self.board) is not None:
            return None
        squares = ", ".join(str(i + 1) for i in free(self.board))
        word = text.strip()
        taken = len(word) == 1 and word in "123456789"
        return (f"square {word} is taken" if taken else f"{word!r} is no square") + f"; free are {squares}"

    def _opponent_moves(self) -> None:
        choices = free(self.board) if self.opponent == "random" else best_moves(self.board)
        self.board = after(self.board, self.moves_of_opponent.choice(choices))

    def _observation(self) -> Observation | ForOther:
        """The board for the side whose turn it is, behind the rules if it is to know them and does not yet."""
        side, shown = to_move(self.board), show(self.board)
        observation: Observation = shown
        if self.config.rules and side not in self.told:
            self.told.add(side)
            observation = (Message(role="system", content=RULES), user(shown))
        return observation if side == self.side else ForOther(observation)

    def _end(self, outcome: str) -> Step:
        reward = {
            "won": self.config.win,
            "drawn": self.config.draw,
            "lost": self.config.loss,
            "illegal": self.config.illegal,
        }[outcome]
        outcomes = {name: name == outcome for name in ("won", "drawn", "lost", "illegal")}
        by_opponent = {f"{self.opponent}/{name}": happened for name, happened in outcomes.items()}
        info = {
            **outcomes,
            **(by_opponent if "+" in self.config.opponent else {}),
            "moves": self.num_moves,
            "side": self.side,
            "opponent": self.opponent,
            "board": show(self.board),
        }
        return Step("", reward, done=True, info=info)


def show(board: str) -> str:
    """The board as the policy reads it.

    >>> print(show("XO..X...O"))
    XO3
    4X6
    78O
    """
    signs = [str(i + 1) if sign == "." else sign for i, sign in enumerate(board)]
    return "\n".join("".join(signs[row : row + 3]) for row in (0, 3, 6))


def parse_move(text: str, board: str) -> int | None:
    """The free square (from 0) that the text names; None if it names none.

    >>> parse_move(" 3 ", "XO......."), parse_move("1", "XO......."), parse_move("3 or 4", EMPTY), parse_move("³", EMPTY)
    (2, None, None, None)
    """
    word = text.strip()
    return int(word) - 1 if len(word) == 1 and word in "123456789" and board[int(word) - 1] == "." else None


def to_move(board: str) -> str:
    """The side whose turn it is."""
    return "X" if board.count("X") == board.count("O") else "O"


def free(board: str) -> tuple[int, ...]:
    """The free squares."""
    return tuple(i for i, sign in enumerate(board) if sign == ".")


def after(board: str, move: int) -> str:
    """The board after a move of the side whose turn it is."""
    return board[:move] + to_move(board) + board[move + 1 :]


@lru_cache(maxsize=8192)
def winner(board: str) -> str | None:
    """The side with three in a row."""
    return next((board[a] for a, b, c in LINES if board[a] != "." and board[a] == board[b] == board[c]), None)


def over(board: str) -> bool:
    """Whether the game has ended."""
    return winner(board) is not None or "." not in board


@lru_cache(maxsize=8192)
def value(board: str) -> int:
    """The result under perfect play for the side whose turn it is: 1 a win, 0 a draw, -1 a loss.

    >>> value(EMPTY), value("XX.OO....")
    (0, 1)
    """
    if over(board):
        return 0 if winner(board) is None else -1  # only the side that has just moved can have won
    return max(-value(after(board, move)) for move in free(board))


@lru_cache(maxsize=8192)
def best_moves(board: str) -> tuple[int, ...]:
    """The moves that keep the value of the board: minimax plays any of them."""
    return tuple(move for move in free(board) if -value(after(board, move)) == value(board))
