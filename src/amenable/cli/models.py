"""`amenable models`: list, show, verify and export them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amenable.cli.common import (
    json_option,
    number,
    open_workspace,
    print_json,
    print_table,
    size,
    workspace_if_any,
    workspace_option,
)
from amenable.cli.main import Subcommands

if TYPE_CHECKING:
    from amenable.config.folder import WorkspaceFolder


@click.command("models", cls=Subcommands)
def command() -> None:
    """List, show, verify and export models.

    A MODEL is a folder in Hugging Face layout, a name under models/, run:NAME (what a run made), run:NAME@STEP, or
    a model of the package: starter, a base model, or assistant, the same instructed.
    """


@command.command("list")
@json_option
@workspace_option
def list_(as_json: bool, workspace_dir: Path | None) -> None:
    """List the models of the workspace and of its runs, and the package's own."""
    from amenable.config.folder import every_model

    workspace = open_workspace(workspace_dir)
    names = every_model(workspace)
    found = [about for name in names if (about := _about_if_sound(name, workspace))]
    if as_json:
        print_json(found)
        return
    if found:
        columns = ["name", "type", "size", "parent", "licence"]
        print_table(
            columns, [[m["name"], m["type"], size(m["bytes"]), m["parent"] or "-", m["licence"] or "-"] for m in found]
        )
    if not workspace.model_names() and not any(name.startswith("run:") for name in names):
        click.echo("no models of your own yet: `amenable quickstart` or `amenable pretrain` makes one")


@command.command("show")
@click.argument("model")
@json_option
@workspace_option
def show(model: str, as_json: bool, workspace_dir: Path | None) -> None:
    """Show where a MODEL comes from, its shape and its figures."""
    about = _about(model, workspace_if_any(workspace_dir))
    if as_json:
        print_json(about)
        return
    for key, value in about.items():
        if key not in ("config", "metrics", "metadata") and value not in (None, ""):
            click.echo(f"{key}: {size(value) if key == 'bytes' else value}")
    shape = [key for key in SHAPE if key in about["config"]]
    print_table(["shape", "value"], [[key, about["config"][key]] for key in shape])
    if about["metrics"]:
        print_table(["metric", "value"], about["metrics"].items())


@command.command("verify")
@click.argument("model")
@json_option
@workspace_option
def verify(model: str, as_json: bool, workspace_dir: Path | None) -> None:
    """Compare the logits of MODEL with those of transformers; exit code 1 if they differ by more than 1e-4."""
    from amenable.config.folder import resolve_model
    from amenable.models.verify import verify as compare

    report = compare(resolve_model(model, workspace_if_any(workspace_dir)))
    if as_json:
        print_json({"passed": report.passed, "difference": report.difference, "report": report})
    else:
        print_table(["read", "largest difference"], [[way, f"{d:.2e}"] for way, d in report.differences.items()])
        verdict = "equal to transformers" if report.passed else "NOT equal to transformers"
        click.echo(
            f"{report.family}, {number(report.parameters)} parameters: {verdict} "
            f"(difference {report.difference:.1e}, allowed {report.tolerance:.0e}, largest logit {report.largest_logit:.1f})"
        )
    if not report.passed:
        raise click.exceptions.Exit(1)


@command.command("export")
@click.argument("model")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--gguf", is_flag=True, help="Write one GGUF file for llama.cpp and Ollama.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    help="Number format of the matrices; else float16 for GGUF, and as it is for a folder.",
)
@click.option(
    "--merge",
    "adapter",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of a LoRA adapter to merge into the weights first.",
)
@json_option
@workspace_option
def export(
    model: str,
    out: Path,
    gguf: bool,
    dtype: str | None,
    adapter: Path | None,
    as_json: bool,
    workspace_dir: Path | None,
) -> None:
    """Write MODEL to OUT: a folder that transformers reads, or with --gguf one file. OUT must not be there yet."""
    from amenable.config.folder import require_place, resolve_model
    from amenable.errors import ConfigError, ModelError

    folder = resolve_model(model, workspace_if_any(workspace_dir))
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise ModelError("there is something already", where=str(out), mend="choose another place, or remove it")
    require_place(out)
    if not gguf:
        _export_folder(folder, out, adapter, dtype)
        result: dict[str, Any] = {"folder": str(out), "bytes": _weight_bytes(out)}
    else:
        from amenable.models.gguf import export_gguf

        if dtype == "bfloat16":
            raise ConfigError("GGUF files are written as float16 or float32", where="--dtype")
        if adapter is None:
            report = export_gguf(folder, out, dtype="float32" if dtype == "float32" else "float16")
        else:
            from tempfile import TemporaryDirectory

            with TemporaryDirectory(dir=out.absolute().parent) as merged:
                _export_folder(folder, Path(merged), adapter, "float32")
                report = export_gguf(merged, out, dtype="float32" if dtype == "float32" else "float16")
        result = {
            "file": str(out),
            "bytes": report.num_bytes,
            "tensors": report.tensors,
            "difference": report.difference,
        }
    if as_json:
        print_json(result)
    else:
        read_back = f", read back: largest difference {result['difference']:.1e}" if gguf else ""
        click.echo(f"{out}: {size(result['bytes'])}{read_back}")


SHAPE = (
    "architectures",
    "hidden_size",
    "n_embd",
    "num_hidden_layers",
    "n_layer",
    "num_attention_heads",
    "n_head",
    "num_key_value_heads",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
    "n_positions",
    "tie_word_embeddings",
)
"""What of config.json is shown."""


def _about_if_sound(reference: str, workspace: WorkspaceFolder) -> dict[str, Any] | None:
    """As _about; a damaged model is told of and left out of the list."""
    from amenable.errors import AmenableError

    try:
        return _about(reference, workspace)
    except AmenableError as error:
        click.echo(f"warning: {reference}: {error.what} ({error.where})", err=True)
        return None


def _about(reference: str, workspace: WorkspaceFolder | None) -> dict[str, Any]:
    """What a model's folder says of it, read without loading the weights."""
    from amenable.config.folder import resolve_model

    folder = resolve_model(reference, workspace)
    config, metadata = _read(folder / "config.json"), _read(folder / "amenable.json")
    return {
        "name": reference,
        "folder": str(folder),
        "type": config.get("model_type", "unknown"),
        "bytes": _weight_bytes(folder),
        "parent": metadata.get("parent"),
        "run": metadata.get("run"),
        "stage": metadata.get("stage"),
        "licence": metadata.get("licence"),
        "config": config,
        "metrics": metadata.get("metrics") or {},
        "metadata": metadata,
    }


def _read(path: Path) -> dict[str, Any]:
    from amenable.errors import ModelError

    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"the file is not JSON: {error}", where=str(path)) from None
    if not isinstance(value, dict):
        raise ModelError("the file holds no JSON object", where=str(path))
    return value


def _weight_bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.glob("*.safetensors"))


def _export_folder(folder: Path, out: Path, adapter: Path | None, dtype: str | None) -> None:
    """A copy of a model folder, an adapter merged in, in another number format if asked, else in its own."""
    import torch

    from amenable.chat.tokenizer import Tokenizer
    from amenable.config.folder import check_disk, keep_sampling
    from amenable.models.folder import load_heads, load_model, read_metadata, save_model
    from amenable.models.lora import load_adapter, merge
    from amenable.models.weights import stored_dtype

    check_disk(out, 2 * _weight_bytes(folder))
    tokenizer = Tokenizer.load(folder)
    model = load_model(folder)
    if adapter is not None:
        load_adapter(model, adapter)
        merge(model)
    model.to(stored_dtype(folder) if dtype is None else getattr(torch, dtype))
    about = {key: value for key, value in read_metadata(folder).items() if key != "heads"}
    save_model(model, out, heads=load_heads(folder), parent=about.get("parent"), metadata=about)
    keep_sampling(folder, out)
    tokenizer.save(out)
