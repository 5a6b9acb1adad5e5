"""`amenable feedback`: what people said, counted, moved, copied, and a person's part of it erased."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amenable.cli.common import (
    NumberRange,
    json_option,
    number,
    open_workspace,
    print_json,
    print_table,
    size,
    workspace_option,
)
from amenable.cli.data import KINDS
from amenable.cli.data import import_ as import_command
from amenable.cli.main import Subcommands

if TYPE_CHECKING:
    from amenable.feedback.agreement import Share
    from amenable.feedback.quality import Quality

SHAPES = ("own", "argilla", "label-studio", "oasst")


@click.command("feedback", cls=Subcommands)
def command() -> None:
    """Count, import, export, back up and purge the feedback of a workspace.

    To train on a project's feedback, name it as data: data.train=feedback:PROJECT.
    """


command.add_command(import_command, "import")


@command.command("stats")
@click.argument("project", required=False)
@json_option
@workspace_option
def stats(project: str | None, as_json: bool, workspace_dir: Path | None) -> None:
    """Show how much feedback there is; of a PROJECT, what it trains and how far its labelers agree."""
    from amenable.feedback.store import Store

    workspace = open_workspace(workspace_dir)
    with Store.open(workspace.database) as store:
        if project is None:
            counts = store.projects()
            if as_json:
                print_json(counts)
            elif counts:
                print_table(
                    ["project", "prompts", "generations", "annotations"], [[n, *c.values()] for n, c in counts.items()]
                )
            else:
                click.echo("no feedback yet: `amenable serve` collects it, `amenable feedback import` brings it")
            return
        from amenable.feedback import projects, quality
        from amenable.feedback.database import reading

        kinds = store.num_records(project)
        with reading(store.engine) as connection:
            about = projects.about(connection, projects.number_of(connection, project))
            found = quality.quality(connection, about)
    if as_json:
        print_json({"project": project, "records": kinds, "quality": found})
    else:
        print_table([f"data.train=feedback:{project}", "records"], [[kind, count] for kind, count in kinds.items()])
        _print_quality(found)


@command.command("choose")
@click.argument("project")
@click.option(
    "--by",
    type=click.Choice(("random", "disagreement", "reward_rise")),
    help="At random, where an ensemble disagrees most, or where the score rose most since a model; else as the project says.",
)
@click.option("--num", type=click.IntRange(min=1), default=100, show_default=True, help="Prompts to put up.")
@click.option("--reward", help="Reward model to score by; for disagreement one trained with members.")
@click.option("--since", help="reward_rise: the model that the rise is measured from, as its responses name it.")
@click.option(
    "--audit-share",
    type=NumberRange(0, 1),
    help="Share that is drawn at random from all, which keeps what is measured on it fair; else as the project says.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random part.")
@json_option
@workspace_option
def choose(
    project: str,
    by: str | None,
    num: int,
    reward: str | None,
    since: str | None,
    audit_share: float | None,
    seed: int,
    as_json: bool,
    workspace_dir: Path | None,
) -> None:
    """Put prompts of PROJECT that have responses but no task up for labelling."""
    from amenable.stages.choose import choose as pick

    workspace = open_workspace(workspace_dir)
    done = pick(workspace, project, by=by, num=num, reward=reward, since=since, audit_share=audit_share, seed=seed)
    if as_json:
        print_json(done)
    else:
        click.echo(
            f"{done.picked + done.audit:,} of {done.candidates:,} prompts put up, {done.audit:,} of them at random"
        )


@command.command("export")
@click.argument("project")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--kind", type=click.Choice([k for k in KINDS if k != "documents"]), required=True, help="Records to write."
)
@click.option(
    "--as", "shape", type=click.Choice(SHAPES), default="own", show_default=True, help="Whose shape the rows get."
)
@json_option
@workspace_option
def export(project: str, out: Path, kind: str, shape: str, as_json: bool, workspace_dir: Path | None) -> None:
    """Write the records of PROJECT to OUT (.jsonl, .jsonl.gz, .jsonl.zst or .parquet).

    The database notes where, so that a purge finds the file.
    """
    from amenable.data.export import export as write
    from amenable.errors import DataError
    from amenable.feedback.store import Store

    if shape == "oasst" and kind not in ("rankings", "demonstrations"):
        raise DataError(f"message trees hold no {kind}", mend="export rankings or demonstrations, or another shape")
    workspace = open_workspace(workspace_dir)
    with Store.open(workspace.database) as store:
        count = write(store.records(project, kind), out, shape=shape)
        store.note_export(project, out)
    if as_json:
        print_json({"file": str(out), "records": count})
    else:
        click.echo(f"{count:,} {kind} of {project} written to {out}")


@command.command("backup")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@json_option
@workspace_option
def backup(out: Path, as_json: bool, workspace_dir: Path | None) -> None:
    """Copy the whole database to OUT, also while a server works with it.

    SQLite: OUT is a database like the first; to go back to it, stop the server and put it in its place. PostgreSQL: OUT is
    an archive of pg_dump; pg_restore --clean --dbname URL OUT brings it back.
    """
    from amenable.feedback.backup import backup as copy

    num_bytes = copy(open_workspace(workspace_dir).database, out)
    if as_json:
        print_json({"file": str(out), "bytes": num_bytes})
    else:
        click.echo(f"{out}: {size(num_bytes)}")


@command.command("purge")
@click.argument("person")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@workspace_option
def purge(person: str, yes: bool, as_json: bool, workspace_dir: Path | None) -> None:
    """Erase what PERSON (a name) wrote and judged: in the database, samples, batch dumps, reports and exports.

    What they taught models stays in those models: they are listed. Backups made before still hold everything.
    """
    from amenable.stages.purge import purge as erase

    workspace = open_workspace(workspace_dir)
    if not yes and not click.confirm(f"Erase everything of {person!r}? This cannot be undone", err=True):
        click.echo("nothing was erased", err=True)
        return
    done = erase(workspace, person)
    if as_json:
        print_json(done)
        return
    click.echo(f"erased of {person}: " + (", ".join(f"{n} {table}" for table, n in done.rows.items()) or "no rows"))
    for title, paths in (
        ("lines removed from", done.changed),
        ("removed", done.removed),
        ("not found any more", done.missing),
    ):
        for path in paths:
            click.echo(f"{title}: {path}")
    for name, digest in done.models:
        click.echo(f"learned from them and stays: {name or 'a model'} ({digest[:12]})")
    if not done.models:
        click.echo("no model is known to have learned from them")
    click.echo("backups and copies made before this still hold their content")


def _print_quality(found: Quality) -> None:
    from amenable.feedback.agreement import REFERENCES

    known = "; ".join(f"{name} {value:.1%}" for name, value in REFERENCES.items())
    click.echo(f"agreement: {_told(found.agreement)} ({known})")
    rows = [[q.question, q.kind, _alpha(q.alpha.value), _told(q.agree)] for q in found.questions if q.alpha.units]
    if rows:
        print_table(["question", "kind", "alpha", "agreement"], rows)
    if found.labelers:
        labelers: list[list[Any]] = [
            [w.name, w.submitted, w.skipped, _told(w.agree), _told(w.consensus), f"{w.gold_right}/{w.gold_total}",
             "; ".join(text for _, text in w.signals)]
            for w in found.labelers
        ]  # fmt: skip
        print_table(["labeler", "submitted", "skipped", "agreement", "with most", "known", "look at"], labelers)


def _told(found: Share) -> str:
    return "-" if found.value is None else f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%}, {found.num} pairs)"


def _alpha(value: float | None) -> str:
    return "-" if value is None else number(value)
