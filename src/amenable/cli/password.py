"""`amenable password`: a way back in for somebody who lost their password, made on the server's machine."""

from __future__ import annotations

from pathlib import Path

import click

from amenable.cli.common import json_option, open_workspace, print_json, workspace_option


@click.command("password")
@click.argument("person")
@click.option(
    "--url",
    default="http://127.0.0.1:8000",
    show_default=True,
    help="Where browsers find the server; the link begins with it.",
)
@json_option
@workspace_option
def command(person: str, url: str, as_json: bool, workspace_dir: Path | None) -> None:
    """Print a link by which PERSON (a name) chooses a new password and signs in.

    It works once, for a day, whether the server runs now or is started later; links made for them before stop working.
    Administrators make such links for others in the browser, under People; this is for the one who cannot get there.
    """
    from amenable.feedback import accounts
    from amenable.feedback.database import reading, writing
    from amenable.feedback.store import Store

    with Store.open(open_workspace(workspace_dir).database) as store:
        with reading(store.engine) as connection:
            user_id = accounts.number_of(connection, person)
        with writing(store.engine) as connection:
            _, secret = accounts.password_link(connection, user_id, days=1)
    link = f"{url.rstrip('/')}/invite/{secret}"
    if as_json:
        print_json({"person": person, "link": link})
    else:
        click.echo(f"a new password for {person} (works once, for a day): {link}")
