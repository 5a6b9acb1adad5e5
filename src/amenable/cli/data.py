"""`amenable data`: what there is to train on, fetched, shown, checked, and moved in and out of the database."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amenable.cli.common import (
    F,
    NumberRange,
    json_option,
    number,
    print_json,
    print_table,
    quiet_option,
    size,
    visible,
    workspace_if_any,
    workspace_option,
)
from amenable.cli.corpus import clean
from amenable.cli.main import Subcommands

if TYPE_CHECKING:
    from amenable.config.folder import WorkspaceFolder
    from amenable.data.formats import Row
    from amenable.data.rejects import Rejects
    from amenable.data.source import LoadedData
    from amenable.types import AnyRecord, Split

KINDS = ("documents", "prompts", "demonstrations", "comparisons", "rankings", "ratings", "labels")
SPLITS = ("train", "validation", "test")

kind_option = click.option(
    "--kind", type=click.Choice(KINDS), help="Records to read; else the richest kind that the source holds."
)
layout_option = click.option("--layout", help="Layout of the rows, where it is not recognised.")
split_option = click.option("--split", type=click.Choice(SPLITS), help="Only this side of the split.")


def rejects_options(function: F) -> F:
    """How many bad rows are borne, and where they go."""
    share = click.option(
        "--max-reject-share",
        type=NumberRange(0, 1),
        default=0.02,
        show_default=True,
        help="Share of bad rows above which to stop.",
    )
    path = click.option(
        "--rejects",
        type=click.Path(dir_okay=False, path_type=Path),
        help="File to write bad rows to, with reasons; import writes data/rejects-PROJECT.jsonl unless told otherwise.",
    )
    return share(path(function))


@click.command("data", cls=Subcommands)
def command() -> None:
    """List, fetch, show, check, clean, import and export data.

    A SOURCE is a file or folder (JSONL, JSON, CSV, Parquet, text; .gz, .zst), the name of a public set of
    `amenable data list` (or NAME:PART), feedback:PROJECT, or one that the package brings: world (generated texts), primer
    (instruction data that the project wrote itself), generated (sums, letters and the like) and tasks:sets=SET
    (instructions worded from templates).
    """


command.add_command(clean)


@command.command("list")
@click.option("--kind", type=click.Choice(KINDS), help="Only sets that hold this kind.")
@json_option
@workspace_option
def list_(kind: str | None, as_json: bool, workspace_dir: Path | None) -> None:
    """List the public data sets, the sources that the package brings, and the projects of the feedback database."""
    from amenable.data.registry.entries import entry, names
    from amenable.data.source import own_sources

    sets = [found for found in map(entry, names()) if kind is None or kind in found.kinds]
    own = [found for found in own_sources() if kind is None or kind in found["kinds"]]
    projects = _projects(workspace_if_any(workspace_dir))
    if as_json:
        print_json({"public": sets, "package": own, "feedback": projects})
        return
    print_table(["name", "kinds", "licence", "title"], [[s.name, ", ".join(s.kinds), s.licence, s.title] for s in sets])
    if own:
        print_table(["in the package", "kinds", "title"], [[s["name"], ", ".join(s["kinds"]), s["title"]] for s in own])
    if projects:
        rows = [[f"feedback:{name}", *counts.values()] for name, counts in projects.items()]
        print_table(["feedback", "prompts", "generations", "annotations"], rows)


@command.command("get")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@json_option
@quiet_option
def get(names: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Fetch public data sets from their homes (or from AMENABLE_DATA_MIRROR) and check them."""
    from amenable.cli.progress import progress
    from amenable.data.registry.entries import entry
    from amenable.data.registry.fetch import fetch

    done: list[dict[str, Any]] = []
    for found in [entry(name) for name in names]:
        with progress(quiet=quiet) as on_event:
            folder = fetch(found.name, progress=_bytes_as_events(on_event))
        files = [p for p in folder.rglob("*") if p.is_file()]
        about = {
            "name": found.name,
            "folder": str(folder),
            "bytes": sum(p.stat().st_size for p in files),
            "licence": found.licence,
            "share_alike": found.share_alike,
            "evaluation_only": found.evaluation_only,
            "warning": found.warning,
            "home": found.home,
        }
        done.append(about)
        if not as_json:
            _tell_set(about)
    if as_json:
        print_json(done)


@command.command("show")
@click.argument("source")
@kind_option
@split_option
@layout_option
@click.option("--limit", type=click.IntRange(min=1), default=3, show_default=True, help="Records to show.")
@click.option(
    "--render",
    is_flag=True,
    help="Show the tokens as the model reads them, the trained ones in colour; of tasks:, the text without --model.",
)
@click.option("--model", help="Model whose tokenizer and template --render uses: a name, folder or run:NAME.")
@json_option
@workspace_option
def show(
    source: str,
    kind: str | None,
    split: Split | None,
    layout: str | None,
    limit: int,
    render: bool,
    model: str | None,
    as_json: bool,
    workspace_dir: Path | None,
) -> None:
    """Show the first records of SOURCE."""
    from amenable.errors import ConfigError

    if render != (model is not None) and not (render and source.startswith("tasks:")):
        raise ConfigError("--render and --model go together", mend="name the model whose template is to be used")
    workspace = workspace_if_any(workspace_dir)
    loaded = _load(source, kind, workspace, split=split, layout=layout)
    records = loaded.records[:limit]
    if as_json:
        print_json(records)
    elif model is not None:
        from amenable.cli.render import print_rendered

        print_rendered(records, model, workspace)
    else:
        for record in records:
            print_record(record)
    click.echo(loaded.description, err=True)
    for note in filter(None, (loaded.warning, *loaded.notes)):
        click.echo(f"note: {note}", err=True)


@command.command("check")
@click.argument("source")
@kind_option
@layout_option
@click.option("--model", help="Model whose tokens the lengths are counted in; else characters.")
@click.option("--context", type=click.IntRange(min=1), help="Longest that fits, in tokens of --model or characters.")
@click.option("--spelling", is_flag=True, help="Look every word up in an English word list (amenable[spelling]).")
@click.option(
    "--words",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of words that are right too, as names; for --spelling.",
)
@rejects_options
@json_option
@workspace_option
def check(
    source: str,
    kind: str | None,
    layout: str | None,
    model: str | None,
    context: int | None,
    spelling: bool,
    words: Path | None,
    max_reject_share: float,
    rejects: Path | None,
    as_json: bool,
    workspace_dir: Path | None,
) -> None:
    """Lint SOURCE before training on it: duplicates, leakage, empty and cut texts, lengths, balance, spelling.

    Of primer, unless a --kind is named, everything is checked that it promises. Exit code 1 if there is an error among the
    findings.
    """
    from amenable.data.check import check as lint
    from amenable.data.rejects import Rejects

    workspace = workspace_if_any(workspace_dir)
    length: Callable[[str], int] | None = None
    if model is not None:
        from amenable.chat.tokenizer import Tokenizer
        from amenable.config.folder import resolve_model

        tokenizer = Tokenizer.load(resolve_model(model, workspace))
        length = lambda text: len(tokenizer.encode(text))
    log = Rejects(limit_share=max_reject_share, path=rejects, anew=True)
    loaded = _load(source, kind, workspace, layout=layout, rejects=log)
    unknown = _unknown_words(source, words) if spelling or words else None
    if source == "primer" and kind is None:
        from amenable.data.primer_check import check_primer

        report = check_primer(length, context, unknown)
    else:
        report = lint(loaded.records, length, context, unknown)
    if as_json:
        print_json(
            {"ok": report.ok, "records": report.num_records, "rejected": log.rejected, "findings": report.findings}
        )
    else:
        click.echo(loaded.description)
        for finding in report.findings:
            colour = {"error": "red", "warning": "yellow"}.get(finding.severity)
            label = click.style(f"{finding.severity}: ", fg=colour, bold=colour is not None)
            examples = f" (e.g. {', '.join(finding.examples)})" if finding.examples else ""
            click.echo(f"{label}{visible(finding.message + examples)}")
        click.echo("nothing stands in the way of training" if report.ok else "mend the errors before training on this")
    if not report.ok:
        raise click.exceptions.Exit(1)


def _unknown_words(source: str, words: Path | None) -> Callable[[str], list[str]]:
    from amenable.data.primer_check import own_words
    from amenable.data.spelling import speller
    from amenable.errors import DataError

    try:
        names = words.read_text("utf-8").split() if words else []
    except UnicodeDecodeError as error:
        what = f"the file of words is not UTF-8 (byte {error.start:,})"
        raise DataError(what, where=str(words), mend="write it anew as UTF-8") from error
    return speller([*names, *(own_words() if source.partition(":")[0] == "primer" else ())])


@command.command("import")
@click.argument("source")
@click.option("--project", required=True, help="Project of the feedback database to put the records in.")
@kind_option
@layout_option
@rejects_options
@json_option
@workspace_option
def import_(
    source: str,
    project: str,
    kind: str | None,
    layout: str | None,
    max_reject_share: float,
    rejects: Path | None,
    as_json: bool,
    workspace_dir: Path | None,
) -> None:
    """Put the records of SOURCE into the feedback database; those that it holds already stay as they are."""
    from amenable.cli.common import open_workspace
    from amenable.data.rejects import Rejects
    from amenable.feedback.store import Store

    workspace = open_workspace(workspace_dir)
    rejects = rejects or workspace.data / f"rejects-{_file_name(project)}.jsonl"
    log = Rejects(limit_share=max_reject_share, path=rejects, anew=True)
    loaded = _load(source, kind, workspace, layout=layout, rejects=log)
    with Store.open(workspace.database) as store:
        done = store.import_records(project, loaded.records)
    if as_json:
        print_json(
            {
                "project": project,
                "added": done.added,
                "known": done.known,
                "moved": done.moved,
                "rejected": log.rejected,
                "rejects": str(rejects) if log.rejected else None,
            }
        )
        return
    click.echo(f"{loaded.description}: {done.added:,} added, {done.known:,} known before")
    if log.rejected:
        click.echo(f"rejected rows: {rejects}")
    if done.moved:
        click.echo(f"{done.moved:,} of them follow the split of their prompt, not the one that they came with")


@command.command("export")
@click.argument("source")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@kind_option
@split_option
@layout_option
@rejects_options
@json_option
@workspace_option
def export(
    source: str,
    out: Path,
    kind: str | None,
    split: Split | None,
    layout: str | None,
    max_reject_share: float,
    rejects: Path | None,
    as_json: bool,
    workspace_dir: Path | None,
) -> None:
    """Write the records of SOURCE to OUT (.jsonl, .jsonl.gz, .jsonl.zst or .parquet), e.g. of feedback:PROJECT."""
    from amenable.data.export import export as write
    from amenable.data.rejects import Rejects

    log = Rejects(limit_share=max_reject_share, path=rejects, anew=True)
    workspace = workspace_if_any(workspace_dir)
    loaded = _load(source, kind, workspace, split=split, layout=layout, rejects=log)
    count = write(loaded.records, out)
    if workspace is not None and source.startswith("feedback:"):
        _note_export(workspace, source.removeprefix("feedback:"), out)
    if as_json:
        print_json({"file": str(out), "records": count, "sha256": loaded.sha256, "rejected": log.rejected})
    else:
        click.echo(f"{loaded.description}: written to {out}")
        if loaded.licence:
            click.echo(f"licence: {loaded.licence}")


def _note_export(workspace: WorkspaceFolder, project: str, out: Path) -> None:
    """So that a purge finds the file."""
    from amenable.feedback.store import Store

    with Store.open(workspace.database) as store:
        store.note_export(project.partition("@")[0].removesuffix("+regenerated"), out)


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:80]


def print_record(record: AnyRecord) -> None:
    """Print one record for people: who says what, then what was judged."""
    import msgspec

    fields: dict[str, Any] = msgspec.to_builtins(record)
    click.secho(visible(fields.pop("id")), bold=True)
    for key, value in fields.items():
        if value in (None, "", [], {}, ()):
            continue
        if key in ("messages", "prompt"):
            for message in value:
                click.echo(f"  {click.style(message['role'] + ':', fg='cyan')} {visible(message['content'])}")
        elif key == "responses":
            for tier, response in sorted(zip(fields["tiers"], value, strict=True)):
                click.echo(f"  {click.style(f'tier {tier}:', fg='cyan')} {visible(response)}")
        elif key != "tiers":
            shown = number(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
            click.echo(f"  {click.style(key + ':', fg='cyan')} {visible(str(shown))}")
    click.echo()


def _load(
    source: str,
    kind: str | None,
    workspace: WorkspaceFolder | None,
    *,
    split: Split | None = None,
    layout: str | None = None,
    rejects: Rejects | None = None,
) -> LoadedData:
    from amenable.data.source import load

    database = workspace.database if workspace is not None else None
    kind = kind or _richest_kind(source, database)
    return load(source, kind, split=split, layout=layout, rejects=rejects, database=database)


def _richest_kind(source: str, database: str | None) -> str:
    """The kind that says most of those that a source holds without derivation; prompts where nothing else is."""
    order = ("rankings", "comparisons", "ratings", "labels", "demonstrations", "documents", "prompts")
    from amenable.data.source import OWN

    head, _, part = source.partition(":")
    if head == "feedback" and part:
        held = _kinds_of_project(database, part) if database is not None else set()
    elif head in OWN or head == "tasks":
        held = {"demonstrations"}
    else:
        from amenable.data.registry.entries import entry, names

        held = set(entry(head).kinds) if head in names() else _kinds_of_files(source)
    return next((kind for kind in order if kind in held), "prompts")


def _kinds_of_project(database: str, project: str) -> set[str]:
    from amenable.feedback.store import FEEDBACK_KINDS, export_records

    return {kind for kind in FEEDBACK_KINDS if next(export_records(database, project, kind), None) is not None}


def _kinds_of_files(source: str) -> set[str]:
    """What the first row of the first file with rows may be read as."""
    from amenable.data.formats import TEXT_SUFFIXES, is_saved_dataset, saved_dataset_rows, suffix_of
    from amenable.data.read import files_of
    from amenable.data.rejects import Rejects
    from amenable.data.source import paths_of

    for path in paths_of(source):
        saved = path.is_dir() and is_saved_dataset(path)
        for file in [path] if saved else files_of(path, Rejects(limit_share=1.0)):
            if not saved and suffix_of(file) in TEXT_SUFFIXES:
                return {"documents"}
            for row in saved_dataset_rows(file, Rejects(limit_share=1.0)) if saved else _rows_if_any(file):
                return _kinds_of_row(row)
    return set()


def _rows_if_any(file: Path) -> Iterator[Row]:
    """The rows of a file, none of an empty one: whether that is an error is for the reader to say."""
    from amenable.data.formats import EMPTY, rows
    from amenable.data.read import DEFAULT_LIMITS
    from amenable.data.rejects import Rejects
    from amenable.errors import DataError

    try:
        yield from rows(file, Rejects(limit_share=1.0), limits=DEFAULT_LIMITS)
    except DataError as error:
        if error.what != EMPTY:
            raise


def _kinds_of_row(row: Row) -> set[str]:
    from amenable.data.layouts import LAYOUTS, kinds_of

    fields = row.value
    return set().union(*(kinds_of(la, fields) for la in LAYOUTS)) if isinstance(fields, dict) else set()


def _projects(workspace: WorkspaceFolder | None) -> dict[str, dict[str, int]]:
    if workspace is None or ("://" not in workspace.database and not Path(workspace.database).exists()):
        return {}
    from amenable.feedback.store import Store

    with Store.open(workspace.database) as store:
        return store.projects()


def _bytes_as_events(on_event: Callable[[Any], None]) -> Callable[[str, int, int | None], None]:
    from amenable.stages.events import Event

    def show(file: str, done: int, total: int | None) -> None:
        whole = None if total is None else total / 1e6
        on_event(Event(stage=file, done=done / 1e6, total=whole, unit="MB"))

    return show


def _tell_set(about: dict[str, Any]) -> None:
    click.echo(f"{about['name']}: {size(about['bytes'])} in {about['folder']}")
    terms = about["licence"] + (", what is made from it under the same licence" if about["share_alike"] else "")
    click.echo(f"  licence: {terms}; from {about['home']}")
    if about["evaluation_only"]:
        click.echo("  its makers ask not to train on it: for evaluation only")
    if about["warning"]:
        click.echo(f"  note: {about['warning']}")
