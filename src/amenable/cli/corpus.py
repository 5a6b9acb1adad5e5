"""`amenable data clean`: sources of running text made into one corpus, and a table of what was kept and what went."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from amenable.cli.common import json_option, number, print_json, print_table, size, workspace_if_any, workspace_option

if TYPE_CHECKING:
    from amenable.data.corpus import Corpus


@click.command("clean")
@click.argument("sources", nargs=-1, required=True)
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--hold-out", multiple=True, metavar="ID", help="Text that goes to OUT/held-out.jsonl; may be repeated.")
@json_option
@workspace_option
def clean(
    sources: tuple[str, ...], out: Path, hold_out: tuple[str, ...], as_json: bool, workspace_dir: Path | None
) -> None:
    """Clean the documents of SOURCES and drop what stands twice; write OUT/NAME.jsonl for each.

    Licence text, markup, page numbers, tables of contents and passages that are not English go, and are counted by rule
    (docs/starter.md). Books are cut at their titles.
    """
    from amenable.config.folder import require_place
    from amenable.data.corpus import make_corpus
    from amenable.data.export import export
    from amenable.data.source import load

    workspace = workspace_if_any(workspace_dir)
    database = workspace.database if workspace is not None else None
    files = _files(sources, out)
    require_place(out)
    loaded = {s: load(s, "documents", database=database) for s in sources}
    corpus = make_corpus({s: found.records for s, found in loaded.items()}, hold_out=hold_out)
    for source, path in files.items():
        export(corpus.train[source], path)
    if corpus.held_out:
        export(corpus.held_out, out / "held-out.jsonl")
    for source, found in loaded.items():
        if found.left_out:
            click.echo(f"{source}: {found.left_out}", err=True)
    if as_json:
        print_json({"folder": str(out), "sources": corpus.rows, "held_out": len(corpus.held_out)})
        return
    _print(corpus)
    click.echo(f"written to {out}")


def _files(sources: tuple[str, ...], out: Path) -> dict[str, Path]:
    """The file of each source. Raises ConfigError if two would be one."""
    from amenable.errors import ConfigError

    files: dict[str, Path] = {}
    for source in sources:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source).name.partition(".")[0]).strip("-") or "source"
        path = out / f"{name}.jsonl"
        if path in files.values() or name == "held-out":
            raise ConfigError(f"{path.name} would be written twice", where=source, mend="clean one of them by itself")
        files[source] = path
    return files


def _print(corpus: Corpus) -> None:
    columns = ["source", "texts", "held out", "documents", "kept", "cleaned away", "doubles", "too short"]
    print_table(
        columns,
        [
            [
                r.source, number(r.texts), number(r.held_out), number(r.documents), size(r.bytes),
                number(sum(r.removed.values())), size(r.doubles_bytes), size(r.short_bytes),
            ]
            for r in corpus.rows
        ],
    )  # fmt: skip
    for source, report in corpus.reports.items():
        for rule, pieces in report.pieces.most_common():
            shown = " ".join(report.examples[rule][0].split())[:60]
            click.echo(f"{source}: {number(pieces)} x {rule}, e.g. {shown!r}")
