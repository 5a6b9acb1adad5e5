"""The conversation of `amenable chat`: what was said, the slash commands, and the loop that reads and answers.

The loop knows models only as Speakers, so that it can be tried with a fake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from amenable.cli.common import visible
from amenable.errors import AmenableError, nearest

if TYPE_CHECKING:
    from amenable.types import Message, Sampling

HELP = """\
/regenerate         answer the last message again, differently
/temperature X      0 is greedy; higher is more varied
/system TEXT        begin anew under this system message; without TEXT: under none
/compare MODEL      answer each message with both models, side by side; without MODEL: stop that
/save FILE          write the conversation as one demonstration (JSONL)
/help               this list
/quit               end (also Ctrl-D); Ctrl-C stops an answer"""
COMMANDS = ("/regenerate", "/temperature", "/system", "/compare", "/save", "/help", "/quit")


class Speaker(Protocol):
    """A model that answers piece by piece."""

    def stream(self, messages: Sequence[Message], sampling: Sampling, seed: int) -> Iterator[str]:
        """The answer to the conversation so far."""
        ...


class Conversation:
    """What was said, and with whom. Nothing here prints."""

    def __init__(
        self, model: str, load: Callable[[str], Speaker], *, sampling: Sampling, seed: int = 0, system: str = ""
    ) -> None:
        self.speakers: dict[str, Speaker] = {model: load(model)}
        self.model, self.other = model, ""
        self.sampling, self.seed, self.system = sampling, seed, system
        self.turns: list[Message] = []
        self._load = load
        self._tries = 0  # at the present message

    @property
    def messages(self) -> tuple[Message, ...]:
        """All that the model sees."""
        from amenable.types import Message

        start = (Message(role="system", content=self.system),) if self.system else ()
        return (*start, *self.turns)

    def say(self, text: str) -> None:
        """Add the user's turn; one before it that was never answered makes room."""
        from amenable.types import user

        if self.turns and self.turns[-1].role == "user":
            self.turns.pop()
        self.turns.append(user(text))
        self._tries = 0

    def take_back(self) -> None:
        """Remove the last answer, so that it can be given again with another seed."""
        if not self.turns:
            raise AmenableError("nothing was said yet", mend="say something first")
        if self.turns[-1].role == "assistant":
            self.turns.pop()
        self._tries += 1

    def answer(self, model: str) -> Iterator[str]:
        """The pieces of a model's answer. Nothing is added to the conversation: see `keep`."""
        seed = self.seed + 7919 * self._tries + len(self.turns)  # another draw for each turn and each try
        yield from self.speakers[model].stream(self.messages, self.sampling, seed)

    def keep(self, text: str) -> None:
        """Add an answer to the conversation."""
        from amenable.types import assistant

        self.turns.append(assistant(text))

    def compare_with(self, model: str) -> None:
        """Let a second model answer too; "" to stop that."""
        if model and model not in self.speakers:
            self.speakers[model] = self._load(model)
        self.other = model if model != self.model else ""

    def set_temperature(self, text: str) -> None:
        """Raises AmenableError unless it is a number of at least 0."""
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise AmenableError(f"{text!r} is no temperature", mend="give a number, at least 0")
        self.sampling = self.sampling.replace(temperature=value)

    def save(self, path: str) -> int:
        """Append the conversation to a JSONL file as a demonstration; returns its number of turns."""
        import hashlib

        from amenable.types import Demonstration

        messages = self.messages
        if self.turns and self.turns[-1].role != "assistant":
            messages = messages[:-1]  # an answer was stopped before its first word
        if not any(message.role == "assistant" for message in messages):
            raise AmenableError("there is no answer to save yet")
        if not path:
            raise AmenableError("/save needs the name of a file", mend="/save talk.jsonl")
        name = hashlib.sha256(repr(messages).encode()).hexdigest()[:16]
        record = Demonstration(id=name, messages=messages, author=f"model:{self.model}", source="chat")
        try:
            with Path(path).expanduser().open("ab") as file:
                file.write(record.to_json() + b"\n")
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            why = error.strerror if isinstance(error, OSError) else error
            raise AmenableError(f"cannot write the file: {why}", where=path, mend="/save talk.jsonl") from None
        return len(messages)


def converse(conversation: Conversation, read: Callable[[], str] | None = None) -> None:
    """Read, answer, repeat, until /quit or the end of input. read: gives the next line, raises EOFError at the end."""
    read = read or _reader()
    while True:
        try:
            line = read().strip()
        except EOFError:
            click.echo()
            return
        if not line:
            continue
        try:
            if line.startswith("/"):
                name, _, rest = line.partition(" ")
                if name == "/quit":
                    return
                _obey(conversation, name, rest.strip())
            else:
                conversation.say(line)
                _answer(conversation)
        except AmenableError as error:
            click.echo(str(error), err=True)


def _obey(conversation: Conversation, name: str, rest: str) -> None:
    match name:
        case "/regenerate":
            conversation.take_back()
            _answer(conversation)
        case "/temperature":
            conversation.set_temperature(rest)
            click.echo(f"temperature {conversation.sampling.temperature:g}", err=True)
        case "/system":
            conversation.system, conversation.turns = rest, []
            click.echo("begun anew" + (" under this system message" if rest else ", no system message"), err=True)
        case "/compare":
            conversation.compare_with(rest)
            told = (
                f"answers of {conversation.model} and {conversation.other}"
                if conversation.other
                else conversation.model
            )
            click.echo(f"answering: {told}", err=True)
        case "/save":
            click.echo(f"{conversation.save(rest)} turns saved to {rest}", err=True)
        case "/help":
            click.echo(HELP)
        case _:
            near = nearest(name, COMMANDS)
            hint = f"did you mean {near}?" if near else "/help lists the commands"
            raise AmenableError(f"there is no command {name}", mend=hint)


def _answer(conversation: Conversation) -> None:
    """Print the answers as they come; the first model's is kept, whole or as far as it came before Ctrl-C."""
    first = ""
    for model in filter(None, (conversation.model, conversation.other)):
        if conversation.other:
            click.secho(f"[{model}]", bold=True)
        pieces: list[str] = []
        stopped = False
        try:
            for piece in conversation.answer(model):
                pieces.append(piece)
                click.echo(visible(piece), nl=False)
        except KeyboardInterrupt:
            stopped = True
            click.echo(" (stopped)", nl=False)
        click.echo()
        if model == conversation.model:
            first = "".join(pieces)
        if stopped:
            break
    if first:
        conversation.keep(first)


def _reader() -> Callable[[], str]:
    import sys

    if sys.stdin.isatty():
        import contextlib

        with contextlib.suppress(ImportError):  # line editing and history, where Python was built with it
            import readline  # noqa: F401
        return lambda: input("> ")
    return input
