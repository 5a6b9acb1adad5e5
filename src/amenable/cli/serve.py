"""`amenable serve`: the web app: labelling, chat, playground, runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from amenable.cli.common import open_workspace, workspace_option

if TYPE_CHECKING:
    from amenable.feedback.accounts import Role


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is all of them.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 is any free one.")
@click.option(
    "--name", "names", multiple=True, help="A host name that browsers use for this server; may be given again."
)
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False), help="Certificate (PEM): speak HTTPS.")
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False), help="Its key (PEM).")
@click.option("--behind-tls", is_flag=True, help="A proxy in front of this server speaks HTTPS.")
@click.option("--public-without-tls", is_flag=True, help="Listen beyond this machine although nothing encrypts.")
@click.option(
    "--invite",
    type=click.Choice(["chat", "labeler", "reviewer", "administrator"]),
    help="Print a link that makes one account of this role, too.",
)
@workspace_option
def command(
    host: str,
    port: int,
    names: tuple[str, ...],
    tls_cert: str | None,
    tls_key: str | None,
    behind_tls: bool,
    public_without_tls: bool,
    invite: Role | None,
    workspace_dir: Path | None,
) -> None:
    """Serve the web app of the workspace: labelling, chat, playground and runs.

    One web process and one model worker, which is started again when it dies. As long as there is no administrator, the
    start prints a link that makes one; it works once.
    """
    from amenable.feedback import accounts
    from amenable.feedback.database import writing
    from amenable.server.run import listen, serve
    from amenable.server.settings import ServerSettings, check
    from amenable.server.site import open_site

    settings = ServerSettings(
        host=host,
        port=port,
        names=names,
        tls_certificate=tls_cert or "",
        tls_key=tls_key or "",
        behind_tls=behind_tls,
        public_without_tls=public_without_tls,
    )
    check(settings)
    workspace = open_workspace(workspace_dir)
    with listen(settings) as bound:
        site = open_site(workspace, settings)
        url = settings.url(bound.getsockname()[1])
        click.echo(f"amenable serves {workspace.root} at {url} (Ctrl-C ends it)")
        with writing(site.engine) as connection:
            if (secret := accounts.first_invitation(connection)) is not None:
                click.echo(f"become its administrator (works once, for a day): {url}/invite/{secret}")
            if invite is not None:
                link = f"{url}/invite/{accounts.invite(connection, invite)[1]}"
                click.echo(f"invite one {invite} (works once, for {accounts.INVITATION_DAYS} days): {link}")
        serve(site, bound)
