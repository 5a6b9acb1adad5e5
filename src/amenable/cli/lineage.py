"""`amenable lineage`: who taught which model, from either end."""

from __future__ import annotations

from pathlib import Path

import click

from amenable.cli.common import json_option, open_workspace, print_json, workspace_option


@click.command("lineage")
@click.argument("thing")
@json_option
@workspace_option
def command(thing: str, as_json: bool, workspace_dir: Path | None) -> None:
    """Show what stands behind THING and what came of it.

    THING is a person's name, the number of an answer (an annotation), a model (its name or hash, run:NAME), a run, or the
    hash of a snapshot.
    """
    from amenable.errors import StoreError
    from amenable.feedback.store import Store

    workspace = open_workspace(workspace_dir)
    with Store.open(workspace.database) as store:
        is_number = thing.isdecimal() and len(thing) < 19  # what a database counts with
        kinds = ("annotation",) if is_number else ("labeler", "model", "run", "snapshot")
        for kind in kinds:
            try:
                found = store.lineage_of(**{kind: int(thing) if kind == "annotation" else thing})  # type: ignore[arg-type]
                break
            except StoreError:
                continue
        else:
            if (run := thing.removeprefix("run:")) in workspace.run_names():
                mend = f"`amenable models show run:{run}` shows what it was made of"
                raise StoreError(f"the run {run!r} learned from no feedback of this database", mend=mend)
            mend = "name a person, an annotation's number, a model, a run or a snapshot"
            raise StoreError(f"nothing named {thing!r} is known here", mend=mend)
        names = store.model_names(found.models)
    if as_json:
        print_json(
            {"kind": kind, **{field: getattr(found, field) for field in found.__struct_fields__}, "names": names}
        )
        return
    click.echo(f"{kind} {thing}")
    shown = {
        "people": found.labelers,
        "annotations": [str(number) for number in found.annotations],
        "snapshots": [digest[:12] for digest in found.snapshots],
        "runs": found.runs,
        "models": [f"{names.get(digest, '?')} ({digest[:12]})" for digest in found.models],
    }
    for title, values in shown.items():
        some = ", ".join(list(values)[:20]) + (f" and {len(values) - 20} more" if len(values) > 20 else "")
        click.echo(f"  {title}: {some or 'none'}")
