"""`amenable chat`: talk to a model in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from amenable.cli.common import workspace_if_any, workspace_option

if TYPE_CHECKING:
    from amenable.types import Decode


@click.command("chat")
@click.argument("model")
@click.option("--system", default="", help="System message to begin with.")
@click.option("--temperature", type=click.FloatRange(min=0), default=0.7, show_default=True, help="0 is greedy.")
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.95,
    show_default=True,
    help="Keep the smallest set of this probability.",
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
    model: str,
    system: str,
    temperature: float,
    top_p: float,
    max_tokens: int,
    seed: int,
    decode: Decode,
    workspace_dir: Path | None,
) -> None:
    """Talk to MODEL: a name, a folder, or run:NAME. Type /help for the commands of the conversation."""
    from amenable.cli.talk import Conversation, converse
    from amenable.config.folder import resolve_model
    from amenable.stages.talk import Talker
    from amenable.types import Sampling

    workspace = workspace_if_any(workspace_dir)

    def load(reference: str) -> Talker:
        talker = Talker(resolve_model(reference, workspace), decode=decode)
        if talker.note:
            click.echo(f"note: {talker.note}", err=True)
        return talker

    sampling = Sampling(temperature=temperature, top_p=top_p, max_tokens=max_tokens)
    conversation = Conversation(model, load, sampling=sampling, seed=seed, system=system)
    click.echo(f"talking to {model}; /help for commands, /quit or Ctrl-D to end", err=True)
    converse(conversation)
