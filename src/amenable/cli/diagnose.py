"""`amenable diagnose`: what is likely wrong with a run, and what to try."""

from __future__ import annotations

from pathlib import Path

import click

from amenable.cli.common import json_option, open_workspace, print_json, workspace_option


@click.command("diagnose")
@click.argument("name")
@json_option
@workspace_option
def command(name: str, as_json: bool, workspace_dir: Path | None) -> None:
    """Read the metrics of the run NAME and name the likely trouble, with the evidence and the setting to try."""
    from amenable.evals.diagnose import diagnose

    findings = diagnose(open_workspace(workspace_dir).run(name))
    if as_json:
        print_json([{f: getattr(finding, f) for f in finding.__struct_fields__} for finding in findings])
        return
    if not findings:
        click.echo("nothing looks wrong; docs/diagnose.md lists what is looked for")
    for finding in findings:
        click.echo(click.style(finding.trouble, bold=True) + f" (steps {finding.steps[0]}-{finding.steps[1]})")
        click.echo(f"  {finding.evidence}")
        click.echo(f"  try: {finding.suggestion}")
