"""`amenable tokenizer`: train one."""

from __future__ import annotations

from pathlib import Path

import click

from amenable.cli.common import json_option, print_json, size, workspace_if_any, workspace_option
from amenable.cli.main import Subcommands


@click.command("tokenizer", cls=Subcommands)
def command() -> None:
    """Train a tokenizer."""


@command.command("train")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write it to.")
@click.option("--vocab-size", type=click.IntRange(min=262), default=4096, show_default=True, help="Tokens at most.")
@click.option("--limit", type=click.IntRange(min=1), help="Documents of each source at most.")
@json_option
@workspace_option
def train(
    sources: tuple[str, ...], out: Path, vocab_size: int, limit: int | None, as_json: bool, workspace_dir: Path | None
) -> None:
    """Train a byte-level BPE tokenizer on the documents of each SOURCE: a file, a folder, or a public set's name."""
    from amenable.chat.tokenizer import train_bpe
    from amenable.config.folder import require_place
    from amenable.data.source import load
    from amenable.types import Document

    require_place(out)
    workspace = workspace_if_any(workspace_dir)
    database = workspace.database if workspace else None
    texts: list[str] = []
    for source in sources:
        loaded = load(source, "documents", limit=limit, database=database)
        texts += [record.text for record in loaded.records if isinstance(record, Document)]
        click.echo(loaded.description, err=True)
    tokenizer = train_bpe(texts, vocab_size)
    tokenizer.save(out)
    sample = texts[:200]
    num_bytes = sum(len(text.encode()) for text in sample)
    num_tokens = sum(len(tokenizer.encode(text)) for text in sample)
    result = {"folder": str(out), "vocab_size": tokenizer.vocab_size, "bytes_per_token": num_bytes / max(1, num_tokens)}
    if as_json:
        print_json(result)
    else:
        read = size(sum(len(text.encode()) for text in texts))
        click.echo(
            f"{tokenizer.vocab_size} tokens from {read} of text, {result['bytes_per_token']:.2f} bytes a token: {out}"
        )
