"""`amenable data show --render`: the tokens of a record as the model reads them, the trained ones in colour."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from amenable.cli.common import visible

if TYPE_CHECKING:
    from amenable.chat.render import Rendered
    from amenable.chat.tokenizer import Tokenizer
    from amenable.config.folder import WorkspaceFolder
    from amenable.types import AnyRecord


def print_rendered(records: Sequence[AnyRecord], model: str, workspace: WorkspaceFolder | None) -> None:
    """Print each row that a record becomes: trained tokens green (between ⟦ ⟧ in a pipe), the others dim."""
    from amenable.chat.render import coloured, default_template_for
    from amenable.chat.tokenizer import Tokenizer
    from amenable.config.folder import resolve_model

    tokenizer = Tokenizer.load(resolve_model(model, workspace))
    if tokenizer.chat_template is None:
        tokenizer = default_template_for(tokenizer)
        click.echo("this model has no chat template: a plain one is used", err=True)
    for record in records:
        for name, rendered in _rows(record, tokenizer):
            trained = sum(rendered.trained)
            click.secho(f"{visible(name)}: {len(rendered.ids)} tokens, {trained} trained", bold=True)
            for text, is_trained in coloured(rendered, tokenizer):
                click.echo(_paint(visible(text), is_trained), nl=False)
            click.echo("\n")


def _rows(record: AnyRecord, tokenizer: Tokenizer) -> Iterator[tuple[str, Rendered]]:
    """The rows of a record by name."""
    from amenable.chat import render
    from amenable.types import Comparison, Demonstration, Document, Label, Prompt, Ranking, Rating, text

    match record:
        case Demonstration():
            yield record.id, render.render(record.messages, tokenizer, but=record.meta.get("unlearned", ()))
        case Document():
            yield record.id, render.render((text(record.text),), tokenizer)
        case Prompt():
            ids = tuple(render.render_prompt(record.messages, tokenizer))
            yield record.id, render.Rendered(ids=ids, trained=(False,) * len(ids))
        case Comparison():
            yield f"{record.id} chosen", render.render_response(record.prompt, record.chosen, tokenizer)
            yield f"{record.id} rejected", render.render_response(record.prompt, record.rejected, tokenizer)
        case Ranking():
            for tier, response in zip(record.tiers, record.responses, strict=True):
                yield f"{record.id} tier {tier}", render.render_response(record.prompt, response, tokenizer)
        case Rating() | Label():
            yield record.id, render.render_response(record.prompt, record.response, tokenizer)


def _paint(text: str, trained: bool) -> str:
    if not sys.stdout.isatty():
        return f"⟦{text}⟧" if trained else text
    return click.style(text, fg="green", bold=True) if trained else click.style(text, dim=True)
