"""What commands share: their common options, the workspace that they work in, and how results are printed."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from amenable.config.folder import WorkspaceFolder
    from amenable.config.settings import Setting

F = TypeVar("F", bound=Callable[..., Any])

workspace_option = click.option(
    "--workspace",
    "workspace_dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the workspace; else the one that you are in.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
quiet_option = click.option("--quiet", is_flag=True, help="Show no progress.")


class NumberRange(click.FloatRange):
    """Numbers within bounds; NaN, which is within all of them, is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is not a number to work with.", param, ctx)
        return found


def open_workspace(chosen: Path | None) -> WorkspaceFolder:
    """The workspace of --workspace, of AMENABLE_WORKSPACE, or the one that we are in.

    Raises AmenableError if there is none.
    """
    from amenable.config.folder import SETTINGS_FILE, WorkspaceFolder, find_workspace
    from amenable.errors import AmenableError

    folder = chosen_folder(chosen)
    if folder is None:
        return find_workspace()
    if not (folder / SETTINGS_FILE).is_file():
        mend = f"make it one with `amenable init {folder}`"
        raise AmenableError("this folder is not a workspace", where=str(folder), mend=mend)
    return WorkspaceFolder(folder.resolve())


def workspace_if_any(chosen: Path | None) -> WorkspaceFolder | None:
    """As open_workspace, but None where no workspace was named and we are in none."""
    from amenable.errors import AmenableError

    try:
        return open_workspace(chosen)
    except AmenableError:
        if chosen_folder(chosen) is not None:
            raise
        return None


def chosen_folder(chosen: Path | None) -> Path | None:
    """The folder named by --workspace behind or before the command, or by the environment."""
    folder: Path | None = chosen or click.get_current_context().find_root().params.get("workspace")
    return folder


_STEERING = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""Control characters but tab and line end, and what turns the direction of writing."""


def visible(text: str) -> str:
    r"""A text of a model or a file as a terminal may get it: what would steer the terminal stands as an escape.

    >>> visible("red\x1b[2J\nblue")
    'red\\x1b[2J\nblue'
    """
    return text.replace("\r\n", "\n").translate(_STEERING)


def print_json(value: Any) -> None:
    """Print a record or plain values as JSON. Numbers that JSON cannot say become null."""
    import msgspec

    click.echo(json.dumps(_sayable(msgspec.to_builtins(value)), indent=2, ensure_ascii=False))


def _sayable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _sayable(inner) for key, inner in value.items()}
    return [_sayable(inner) for inner in value] if isinstance(value, list | tuple) else value


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """Print rows in columns: a table in a terminal, tab-separated lines in a pipe. Numbers stand to the right."""
    rows = [list(row) for row in rows]
    if not sys.stdout.isatty():
        click.echo("\t".join(columns))
        for row in rows:
            click.echo("\t".join(_cell(cell).replace("\t", " ").replace("\n", " ") for cell in row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, header_style="bold")
    for place, column in enumerate(columns):
        numbers = any(isinstance(row[place], int | float) for row in rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(cell)) for cell in row))
    Console().print(table)


def number(value: float) -> str:
    """A figure with about four digits that matter.

    >>> number(1234567.0), number(0.123456), number(3e-05), number(12.0)
    ('1,234,567', '0.1235', '3e-05', '12')
    """
    if not math.isfinite(value):
        return str(value)
    if value == round(value) and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def size(num_bytes: float) -> str:
    """Bytes in the unit that fits.

    >>> size(1_530_000)
    '1.5 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds as a clock shows them.

    >>> duration(75), duration(3700)
    ('1:15', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def print_settings(settings: Sequence[Setting], *, as_json: bool) -> None:
    """Print what `--settings` shows."""
    if as_json:
        print_json(settings)
        return
    if sys.stdout.isatty():
        rows = [(s.name, s.default if s.default is not None else "(required)", s.type, s.description) for s in settings]
        print_table(["setting", "default", "type", "meaning"], rows)
        return
    for s in settings:
        click.echo(f"{s.name} = {s.default if s.default is not None else '(required)'}")
        click.echo(f"    {s.description}" + (f" ({s.type})" if s.description else s.type))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, int | float) else visible(str(value))
