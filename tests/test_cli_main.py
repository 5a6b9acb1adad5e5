"""The command line as a whole: help everywhere, quick to start, errors in plain words with the right exit code."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from amenable.cli import main
from amenable.cli.main import COMMANDS, cli, run
from amenable.errors import AmenableError, ConfigError

ISSUE = {
    "init": [],
    "quickstart": [],
    "data": ["list", "get", "show", "check", "import", "export"],
    "tokenizer": ["train"],
    "pretrain": [],
    "sft": [],
    "sample": [],
    "reward": [],
    "ppo": [],
    "dpo": [],
    "kto": [],
    "evaluate": [],
    "assess": [],
    "chat": [],
    "play": [],
    "runs": ["list", "show", "resume", "compare", "replay"],
    "models": ["list", "show", "verify", "export"],
    "doctor": [],
}


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli)
    for name in COMMANDS:
        found = cli.get_command(context, name)
        assert found is not None
        yield name, found
        if isinstance(found, click.Group):
            for part, command in found.commands.items():
                yield f"{name} {part}", command


def test_the_commands_that_were_asked_for_are_there() -> None:
    names = {name for name, _ in commands()}
    assert {*ISSUE, *(f"{name} {part}" for name, parts in ISSUE.items() for part in parts)} <= names


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_every_command_has_help_and_every_option_says_what_it_does(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = dict(commands())[name]
    assert command.help and len(command.help.split()) > 2
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"
    assert run([*name.split(), "--help"]) == 0
    assert "--help" in capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name, command in commands() if not isinstance(command, click.Group)])
def test_commands_that_print_results_print_json_too(name: str) -> None:
    options = {o for parameter in dict(commands())[name].params for o in parameter.opts}
    assert "--json" in options or name in ("chat", "serve")
    assert "--workspace" in options or name in ("init", "data get")


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from amenable.cli.main import run; assert run(['--help']) == 0; "
        "heavy = {'torch', 'transformers', 'rich', 'sqlalchemy', 'numpy', 'tokenizers', 'alembic', 'matplotlib', 'peft'};"
        "found = heavy & set(sys.modules); assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "quickstart" in done.stdout


@pytest.mark.parametrize("part", ["data list", "runs list", "models list", "init x", "data list --json"])
def test_commands_without_a_model_load_no_torch(part: str, tmp_path: Path) -> None:
    script = (
        "import sys; from amenable.cli.main import run; run(['init', '.']); "
        f"assert run({part.split()!r}) == 0; assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["quikstart"], 2, "did you mean 'quickstart'"),
        (["data", "lst"], 2, "did you mean 'list'"),
        (["xyzzy"], 2, "known: init"),
        (["data", "list", "--knd", "x"], 2, "--kind"),
        (["data", "show"], 2, "Missing argument"),
        (["data", "show", "nothing.jsonl"], 1, "nothing.jsonl"),
        (["data", "get", "gsm8"], 1, "did you mean gsm8k"),
        (["data", "show", "world", "--render"], 2, "--render and --model go together"),
        (["runs", "list"], 1, "amenable init"),
        (["runs", "list", "--workspace", "nowhere"], 1, "not a workspace"),
        (["--workspace", "nowhere", "models", "list"], 1, "not a workspace"),
        (["models", "show", "nothing"], 1, "there is no model 'nothing'"),
        (["chat", "nothing"], 1, "there is no model 'nothing'"),
    ],
)
def test_mistakes_are_answered_in_plain_words(
    args: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(args) == code
    seen = capsys.readouterr()
    assert words in seen.err
    assert "Traceback" not in seen.err
    assert seen.out == ""


def raising(error: BaseException) -> click.Command:
    @click.command("init", help="Raise.")
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (AmenableError("it broke", where="a.txt:3", mend="mend it"), 1, "where: a.txt:3"),
        (ConfigError("bad setting"), 2, "bad setting"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 1, "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, "permission denied"),
    ],
)
def test_errors_become_text_and_an_exit_code(
    error: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "get_command", lambda ctx, name: raising(error))
    monkeypatch.delenv("AMENABLE_DEBUG", raising=False)
    assert run(["init"]) == code
    assert words in capsys.readouterr().err
    monkeypatch.setenv("AMENABLE_DEBUG", "1")
    with pytest.raises(type(error)):
        run(["init"])


def test_a_bug_of_ours_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "get_command", lambda ctx, name: raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        run(["init"])


def test_a_reader_that_has_enough_is_no_error() -> None:
    line = f"{sys.executable} -m amenable data list | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.split()[-1] in ("0", "141")  # nothing was lost, or the shell's own code for a closed pipe


def test_the_exit_code_is_the_errors_own_when_nobody_reads_it() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    program = (
        "import click; from amenable.cli import main; from amenable.stages.ctrl_c import Interrupted\n"
        "def stop(): raise Interrupted('stopped')\n"
        "main.cli.get_command = lambda ctx, name: click.Command('init', callback=stop)\n"
        "main.main(['init'])"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=writer, stderr=writer, check=False)
    os.close(writer)
    assert done.returncode == 130


def test_the_module_runs_as_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "amenable", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()[0]) == (0, "amenable,")


def test_main_exits_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(["xyzzy"])
    assert caught.value.code == 2
