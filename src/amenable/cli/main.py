"""`amenable`: finds the command, runs it, and turns whatever goes wrong into plain words and an exit code.

Commands load only when they are used, and what they need (torch, transformers, rich, sqlalchemy) only inside their
functions, so that `amenable --help` answers at once. Exit codes: 0 done, 1 could not be done, 2 wrong use or setting,
130 stopped by Ctrl-C. AMENABLE_DEBUG=1 shows the traceback of an error.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from amenable import __version__
from amenable.cli.common import visible
from amenable.cli.progress import drop, tell
from amenable.errors import AmenableError, ConfigError, nearest

COMMANDS = (
    "init",
    "quickstart",
    "data",
    "tokenizer",
    "pretrain",
    "sft",
    "finetune",
    "sample",
    "reward",
    "ppo",
    "dpo",
    "kto",
    "evaluate",
    "assess",
    "chat",
    "play",
    "serve",
    "password",
    "feedback",
    "lineage",
    "study",
    "runs",
    "diagnose",
    "models",
    "doctor",
)
"""In the order of the road. Each is `command` in the module of its name."""

USERS_FAULT = {
    errno.ENOSPC: ("the disk is full", "free some space and try again"),
    errno.EDQUOT: ("your disk quota is used up", "free some space and try again"),
    errno.EACCES: ("permission denied", "give yourself the permission, or choose another folder"),
    errno.EPERM: ("permission denied", "give yourself the permission, or choose another folder"),
    errno.EROFS: ("the disk may only be read", "choose a folder that may be written"),
    errno.ENAMETOOLONG: ("the name is too long for a file", "choose a shorter one"),
    errno.EEXIST: ("something else stands there already", "choose another place"),
    errno.ENOTDIR: ("a part of this path is a file, not a folder", "choose another place"),
    errno.EISDIR: ("this is a folder, not a file", "name a file"),
    errno.ELOOP: ("the link leads back to itself", "name the file that is meant"),
    errno.EIO: ("the disk failed to read or write", "check the disk"),
    errno.ENOMEM: ("there is not enough memory", "use a smaller model, or lower train.micro_tokens"),
    errno.EMFILE: ("too many files are open", "raise the limit: ulimit -n 4096"),
}


class Commands(click.Group):
    """A group that loads a command when it is asked for and names the nearest where there is none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"amenable.cli.{name}").__dict__["command"]
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name_nearest(self, ctx, args)
        return super().resolve_command(ctx, args)


class Subcommands(click.Group):
    """A group within a command, e.g. `data`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name_nearest(self, ctx, args)
        return super().resolve_command(ctx, args)


def name_nearest(group: click.Group, ctx: click.Context, args: list[str]) -> None:
    """Raise UsageError that names the nearest command, if the first argument is no command."""
    name, known = args[0], group.list_commands(ctx)
    if name.startswith("-") or name in known:
        return
    near = nearest(name, known)
    hint = f"did you mean {near!r}?" if near else f"known: {', '.join(known)}"
    raise click.UsageError(f"there is no command {name!r}; {hint}", ctx)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--workspace",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="AMENABLE_WORKSPACE",
    show_envvar=True,
    help="Folder of the workspace; else the one that you are in.",
)
@click.version_option(__version__, prog_name="amenable", help="Show the version.")
def cli(workspace: Path | None) -> None:
    """From raw text to an assistant that follows instructions and learns from people.

    Start with `amenable quickstart`: the whole road in a few minutes. Or make a workspace with `amenable init` and walk
    it yourself: pretrain, sft, reward, ppo, evaluate, chat.
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers' own bars would break into ours
    code = run(args)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is over; a late Ctrl-C must not break the ending off
    # Python notes a Ctrl-C that met an exec (dataclasses use it) and dies of it at the end, caught or not; this unsays it.
    exec("")
    sys.exit(code)


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    debug = os.environ.get("AMENABLE_DEBUG", "") not in ("", "0")
    _mend_streams()
    try:
        if "_AMENABLE_COMPLETE" in os.environ:  # a shell asks what could follow
            cli.main(prog_name="amenable")
        words = list(sys.argv[1:] if args is None else args)
        _require_utf8(words)
        with cli.make_context("amenable", words) as context:
            cli.invoke(context)
        sys.stdout.flush()
        return 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except BrokenPipeError:
        drop(sys.stdout)  # the reader (`| head`) has enough
        return 141
    except click.NoSuchOption as error:
        if not error.possibilities and error.ctx and any(p.name == "given" for p in error.ctx.command.params):
            hint = f"A setting stands without dashes: {error.option_name.lstrip('-')}=VALUE"
            click.UsageError(f"{error.format_message()} {hint}", error.ctx).show()
        else:
            error.show()
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except AmenableError as error:
        if debug:
            raise
        return _complain(str(error), error.exit_code)
    except BaseException as error:
        found = _explained(error)
        if found is None or debug:
            raise
        return _complain(*found)


def _explained(error: BaseException) -> tuple[str, int] | None:
    """(text, exit code) of what is no bug of ours; None for a bug."""
    behind: BaseException | None = error
    while behind is not None:  # some library turns a Ctrl-C that meets it into an error of its own
        if isinstance(behind, KeyboardInterrupt | click.Abort):
            return "stopped by Ctrl-C", 130
        behind = behind.__cause__ or behind.__context__
    if isinstance(error, OSError) and error.errno in USERS_FAULT:
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EIO):
            drop(sys.stdout)  # it may have been stdout that could not be written
        what, mend = USERS_FAULT[error.errno]
        return str(AmenableError(what, where=error.filename and str(error.filename), mend=mend)), 1
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error)):
        what, mend = USERS_FAULT[errno.ENOMEM]
        return str(AmenableError(what, mend=mend)), 1
    return None


def _require_utf8(words: Sequence[str]) -> None:
    for word in words:
        if any("\ud800" <= sign <= "\udfff" for sign in word):
            mend = "write it in UTF-8; rename a file whose name is not"
            raise ConfigError(f"{word!r} is not UTF-8 text", where="command line", mend=mend)


def _mend_streams() -> None:
    """Closed standard streams become empty ones; what a terminal cannot show or a pipe says wrongly becomes a mark."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for good
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _complain(text: str, code: int) -> int:
    label = "" if code == 130 else click.style("error: ", fg="red", bold=True)
    tell(f"{label}{visible(text)}", sys.stderr)
    return code
