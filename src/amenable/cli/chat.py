"""`amenable chat`: talk to a model in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from amenable.cli.common import NumberRange, workspace_if_any, workspace_option

if TYPE_CHECKING:
    from amenable.config.folder import WorkspaceFolder
    from amenable.types import Decode

INSTRUCTED = ("sft", "ppo", "dpo", "kto")
"""The stages whose models are there to be talked to."""


@click.command("chat")
@click.argument("model", required=False)
@click.option("--system", default="", help="System message to begin with.")
@click.option("--temperature", type=NumberRange(min=0), help="0 is greedy; else as the model's makers say, or 0.7.")
@click.option(
    "--top-p",
    type=NumberRange(0, 1, min_open=True),
    help="Keep the smallest set of this probability; else as the model's makers say, or 0.95.",
)
@click.option("--max-tokens", type=click.IntRange(min=1), default=256, show_default=True, help="Longest answer.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed and words, same answers."
)
@click.option(
    "--decode",
    type=click.Choice(["auto", "plain", "compiled", "int8"]),
    default="auto",
    show_default=True,
    help="Compiled code where possible, the model's own operations, compiled or an error, or 8-bit weights.",
)
@workspace_option
def command(
    model: str | None,
    system: str,
    temperature: float | None,
    top_p: float | None,
    max_tokens: int,
    seed: int,
    decode: Decode,
    workspace_dir: Path | None,
) -> None:
    """Talk to MODEL: a name, a folder, or run:NAME. Type /help for the commands of the conversation.

    Without MODEL: to the newest model of the workspace that was instructed, else to the package's assistant.
    """
    from amenable.cli.talk import Conversation, converse
    from amenable.config.folder import ASSISTANT, own_sampling, resolve_model
    from amenable.stages.talk import Talker

    workspace = workspace_if_any(workspace_dir)
    model = model or _newest(workspace) or ASSISTANT.name

    def load(reference: str) -> Talker:
        talker = Talker(resolve_model(reference, workspace), decode=decode)
        if talker.note:
            click.echo(f"note: {talker.note}", err=True)
        return talker

    said = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
    own = own_sampling(resolve_model(model, workspace))
    sampling = own.replace(**{name: value for name, value in said.items() if value is not None})
    conversation = Conversation(model, load, sampling=sampling, seed=seed, system=system)
    click.echo(f"talking to {model}; /help for commands, /quit or Ctrl-D to end", err=True)
    converse(conversation)


def _newest(workspace: WorkspaceFolder | None) -> str | None:
    """The last run that instructed a model, by name."""
    from amenable.config.folder import is_model
    from amenable.config.runs import settings_of

    if workspace is None:
        return None
    for name in reversed(workspace.run_names()):
        folder = workspace.runs / name
        if is_model(folder / "model") and settings_of(folder).get("stage") in INSTRUCTED:
            return f"run:{name}"
    return None
