"""`amenable play`: a policy in an environment, against a person, watched, or measured over many games."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from amenable.cli.common import (
    NumberRange,
    json_option,
    number,
    open_workspace,
    print_json,
    print_table,
    quiet_option,
    workspace_option,
)

if TYPE_CHECKING:
    from amenable.evals.statistics import Interval
    from amenable.stages.play import Figures, Session

HELP = """\
1 to 9     take the square of that number
/new       give this game up and begin another
/side X    play X (or O) from the next game on; /side alone: take turns
/help      this list
/quit      end (also Ctrl-D)"""
COMMANDS = ("/new", "/side", "/help", "/quit")


@click.command("play")
@click.argument("environment")
@click.argument("model")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--games", type=click.IntRange(min=1), help="Play so many by itself and print figures with intervals.")
@click.option("--side", type=click.Choice(["X", "O"]), help="Your side in a game of two; else you take turns.")
@click.option("--temperature", type=NumberRange(min=0), default=1.0, show_default=True, help="0 is greedy.")
@click.option(
    "--max-tokens", type=click.IntRange(min=1), help="Tokens of a turn at most; else what the environment says."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same games.")
@click.option(
    "--report", type=click.Path(file_okay=False, path_type=Path), help="With --games: a folder for report.html."
)
@json_option
@quiet_option
@workspace_option
def command(
    environment: str,
    model: str,
    settings: tuple[str, ...],
    games: int | None,
    side: str | None,
    temperature: float,
    max_tokens: int | None,
    seed: int,
    report: Path | None,
    as_json: bool,
    quiet: bool,
    workspace_dir: Path | None,
) -> None:
    """Play in ENVIRONMENT with MODEL: tictactoe, arithmetic, instructions, or module:Class.

    In a terminal you are the other player of a game of two; other environments let you watch. With --games it plays by
    itself and prints figures: `amenable play tictactoe run:ttt --games 2000 opponent=minimax`. KEY=VALUE are settings of
    the environment.
    """
    from amenable.cli.progress import progress
    from amenable.config.folder import require_place
    from amenable.config.settings import apply_overrides
    from amenable.errors import ConfigError
    from amenable.rollout.environments.load import load_environment
    from amenable.stages import play

    section = {"name": environment, **apply_overrides({}, settings)}
    load_environment(section)  # complains before a model is loaded
    sampling = play.sampling_for(environment, temperature=temperature, max_tokens=max_tokens)
    if games is None:
        if as_json or report:
            mend = "say how many games to measure, as in --games 2000"
            raise ConfigError("figures need games", where="--json" if as_json else "--report", mend=mend)
        policy = play.open_player(model, open_workspace(workspace_dir))
        converse(play.Session(policy, section, sampling, seed=seed), side=side)
        return
    if side:
        mend = "leave it out: both sides are played, unless side=X says which is the model's"
        raise ConfigError("--side is yours, and with --games nobody sits there", where="--side", mend=mend)
    workspace = open_workspace(workspace_dir)
    if report:
        require_place(report)
    with progress(quiet=quiet) as on_event:
        figures = play.measure(model, section, sampling, workspace=workspace, games=games, seed=seed, on_event=on_event)
    page = play.report(figures, report, workspace) if report else None
    if as_json:
        print_json(figures)
    else:
        show(figures)
        if page:
            click.echo(f"report: {page}")


def show(figures: Figures) -> None:
    """Print the figures as a table, a column for each part."""
    parts = {"all": figures.overall, **figures.parts}
    rows = [[name, *(_interval(part.get(name)) for part in parts.values())] for name in figures.overall]
    print_table([f"{figures.games} games", *parts], rows)
    if figures.failed:
        click.echo(f"{figures.failed} games could not be played to their end")


def converse(session: Session, *, side: str | None, read: Callable[[], str] | None = None) -> None:
    """Games with a person until /quit or the end of input; an environment for one is watched, Enter for the next."""
    read = read or _reader()
    try:
        while True:
            if session.for_two:
                side = _game(session, side, read)
            else:
                _watch(session, read)
    except (EOFError, _Quit):
        click.echo()
        if any(session.tally.values()):
            counts = ", ".join(f"{name} {count}" for name, count in session.tally.items())
            click.echo(f"the model in {session.num_games} games: {counts}")


class _Quit(Exception):
    pass


def _game(session: Session, side: str | None, read: Callable[[], str]) -> str | None:
    """One game; returns the side that the person wants from now on."""
    yours = side or "XO"[session.num_games % 2]
    session.begin(opponent="self", side="O" if yours == "X" else "X")
    board = session.board
    assert board is not None
    click.echo(f"\nyou are {_coloured(yours)}; /help for commands")
    while session.going:
        if not session.episode.others_turn:
            said = session.policy_speaks()
            click.echo(f"the model plays {said.strip() or 'nothing'}")
            continue
        click.echo(_coloured(board.picture()))
        line = read().strip()
        if line.startswith("/"):
            name, _, rest = line.partition(" ")
            if name == "/new":
                return side
            side = _obey(name, rest.strip().upper(), side)
        elif objection := board.objection(line):
            click.echo(objection)
        else:
            session.person_speaks(line)
    click.echo(_coloured(board.picture()))
    endings = {"won": "the model wins", "lost": "you win", "drawn": "a draw"}
    click.secho(endings.get(session.outcome, "an illegal move: the model loses"), bold=True)
    return side


def _obey(name: str, rest: str, side: str | None) -> str | None:
    from amenable.errors import nearest

    match name:
        case "/quit":
            raise _Quit
        case "/side" if rest in ("X", "O", ""):
            click.echo(f"you play {rest} from the next game on" if rest else "you take turns from the next game on")
            return rest or None
        case "/side":
            click.echo(f"{rest!r} is no side: X or O")
        case "/help":
            click.echo(HELP)
        case _:
            near = nearest(name, COMMANDS)
            click.echo(f"there is no command {name}; " + (f"did you mean {near}?" if near else "/help lists them"))
    return side


def _watch(session: Session, read: Callable[[], str]) -> None:
    """One episode of the policy alone."""
    from amenable.types import Message

    session.begin()
    while session.going:
        heard = session.episode.heard
        for message in (heard,) if isinstance(heard, str) else heard:
            click.secho(message.content if isinstance(message, Message) else message, bold=True)
        click.echo(session.policy_speaks())
    told = ", ".join(f"{name} {_plain(value)}" for name, value in session.episode.info.items())
    click.secho(f"reward {number(sum(session.episode.rewards))}; {told}", dim=True)
    click.echo("Enter for the next, /quit to end")
    if read().strip() == "/quit":
        raise _Quit


def _plain(value: object) -> str:
    return (
        ("no", "yes")[value] if isinstance(value, bool) else number(value) if isinstance(value, float) else str(value)
    )


def _coloured(picture: str) -> str:
    signs = {"X": {"fg": "cyan", "bold": True}, "O": {"fg": "yellow", "bold": True}}
    return re.sub(r"[XO\d]", lambda m: click.style(m[0], **signs.get(m[0], {"dim": True})), picture)  # type: ignore[arg-type]


def _interval(found: Interval | None) -> str:
    return "-" if found is None else f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})"


def _reader() -> Callable[[], str]:
    import sys

    return (lambda: input("> ")) if sys.stdin.isatty() else input
