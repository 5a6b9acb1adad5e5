"""Writes the generated parts of the documentation: settings, commands, layouts, public data sets, modules, the ladder.

    python scripts/make_docs.py                   rewrite what stands between <!-- generated: NAME --> and <!-- end: NAME -->
    python scripts/make_docs.py --check           change nothing; exit code 1 and a list of what is stale
    python scripts/make_docs.py path/report.json  put that quickstart's ladder into README.md, too

tests/test_docs.py runs the check.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from amenable.cli.main import cli
from amenable.config.folder import WorkspaceConfig
from amenable.config.settings import Setting, describe
from amenable.data import primer
from amenable.data.layouts import LAYOUTS, kinds_of
from amenable.data.primer_agreement import agreement
from amenable.data.registry.entries import entry
from amenable.data.registry.entries import names as set_names
from amenable.rewards import composite, ensemble, labeler, rules
from amenable.rollout.environments.load import BUILT_IN, find_environment
from amenable.stages.build import LoraSettings
from amenable.stages.catalog import STAGES
from amenable.stages.catalog import find as find_stage
from amenable.stages.data import DataConfig
from amenable.studies import catalog as study_catalog
from amenable.train import contract
from amenable.train.settings import TrainConfig
from amenable.types import Sampling

ROOT = Path(__file__).resolve().parent.parent
SHARED: dict[str, tuple[type, str]] = {
    "data": (DataConfig, "Where records come from, and which of them are used."),
    "train": (TrainConfig, "The loop: how long, how much at once, how often to save and measure."),
    "sampling": (Sampling, "How tokens are drawn."),
    "lora": (LoraSettings, "Low-rank adaptation: train a small addition to the weights instead of all of them."),
}
"""Sections that several stages have; described once, and in each stage only where its defaults differ."""
SECTION_OF = {"ptx": "data"}
"""Sections of a stage that have the shape of a shared one under another name."""

LAYERS = (
    ("cli", "one short file per command; the only place that prints"),
    ("server", "the web server behind `amenable serve`; never imports torch, its child process does"),
    ("workspace.py", "the Python face; what the command line shares with it"),
    ("studies", "known figures of the literature, reproduced small: a grid of runs each"),
    ("stages", "wiring from a recipe to a finished run, each file read top to bottom"),
    ("evals", "measurements, statistics, report.html"),
    ("train", "the one loop (a generator), learner, checkpoints, run log"),
    ("algorithms", "one file per algorithm, under the contract of train/contract.py"),
    ("rollout", "engines that generate, environments that answer"),
    ("rewards", "what scores a response"),
    ("data", "readers, layouts, registry, splits, rows, loaders, the generated world"),
    ("models", "decoder, heads, adapters, Hugging Face folders"),
    ("objectives", "pure tensor functions"),
    ("chat", "text to tokens and back"),
    ("config", "settings and the workspace folder"),
    ("feedback", "the database and the simulated labeler"),
    ("batch.py", "tensor records"),
    ("splitting.py", "the rule of training and held-out sides"),
    ("types.py", "records"),
    ("errors.py", "what can go wrong for a user"),
)
"""The package from top to bottom; imports point down only."""


def main(arguments: Sequence[str]) -> int:
    checking = "--check" in arguments
    reports = [Path(word) for word in arguments if word != "--check"]
    if reports:
        write_ladder(reports[0])
    stale = [path for path, old, new in pages() if old != new]
    for path in stale:
        sys.stdout.write(f"{path.relative_to(ROOT)} {'is stale' if checking else 'rewritten'}\n")
    if not checking:
        for path, _, new in list(pages()):
            path.write_text(new, encoding="utf-8")
    return 1 if checking and stale else 0


def pages() -> Iterator[tuple[Path, str, str]]:
    """(page, its text, its text with all generated parts made anew)."""
    for path in sorted((ROOT / "docs").rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        yield path, text, fill(text)


def fill(text: str) -> str:
    """A page's text with what stands between its markers made anew."""

    def make(found: re.Match[str]) -> str:
        name = found[1]
        return f"<!-- generated: {name} -->\n\n{PARTS[name]().strip()}\n\n<!-- end: {name} -->"

    return re.sub(r"<!-- generated: ([\w-]+) -->.*?<!-- end: \1 -->", make, text, flags=re.DOTALL)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)])


# Settings


def settings_table(settings: Sequence[Setting]) -> str:
    rows = [[f"`{s.name}`", shown_default(s), s.type, s.description] for s in settings]
    return table(["setting", "default", "type", "meaning"], rows)


def shown_default(setting: Setting) -> str:
    return "must be given" if setting.default is None else f"`{setting.default}`"


def stage_settings() -> str:
    """Every setting of every stage: its own, and those of shared sections whose default differs."""
    parts = []
    for stage in STAGES:
        config_type, _ = find_stage(stage)
        own, sections = [], []
        for setting in describe(config_type):
            section, _, rest = setting.name.partition(".")
            shared = shared_settings().get(SECTION_OF.get(section, section))
            if shared is None or rest not in shared:
                own.append(setting)
                continue
            sections.append(section)
            usual = shared[rest]
            if usual.default != setting.default and setting.default != "none":
                own.append(setting.replace(description=setting.description or usual.description))
        named = [f"[`{s}.`](#{SECTION_OF.get(s, s)})" for s in dict.fromkeys(sections)]
        also = (
            f"\n\nAlso the settings of {', '.join(named)}, as described there unless they stand above." if named else ""
        )
        parts.append(f"### amenable {stage}\n\n{settings_table(own)}{also}")
    return "\n\n".join(parts)


def shared_settings() -> dict[str, dict[str, Setting]]:
    return {section: {s.name: s for s in describe(config)} for section, (config, _) in SHARED.items()}


def shared_sections() -> str:
    return "\n\n".join(
        f"### {section}\n\n{about}\n\n"
        + settings_table([s.replace(name=f"{section}.{s.name}") for s in describe(config)])
        for section, (config, about) in SHARED.items()
    )


def algorithm_settings() -> str:
    """Every algorithm: what it is, what it learns from, which command runs it, its settings."""
    parts = []
    for name in contract.names():
        algorithm = contract.build(name)
        settings = [s.replace(name=f"algorithm.{s.name}") for s in describe(type(algorithm.config))]
        facts = (
            f"Run by `amenable {command_of(algorithm)}`; learns from {' and '.join(algorithm.feeds.values())}; "
            f"trains {' and '.join(f'{role} ({kind})' for role, kind in algorithm.trains.items())}."
        )
        told = settings_table(settings) if settings else "It has no settings of its own."
        parts.append(f"### {name}\n\n{summary(algorithm.module.__doc__)}\n\n{facts}\n\n{told}")
    return "\n\n".join(parts)


def environment_settings() -> str:
    """Every environment of the package: what it is and its settings."""
    parts = []
    for name in BUILT_IN:
        kind = find_environment(name)
        told = settings_table([s.replace(name=f"environment.{s.name}") for s in describe(kind.settings)])
        about = summary(sys.modules[kind.__module__].__doc__)
        parts.append(f"### {name}\n\n{about}\n\n{told}")
    return "\n\n".join(parts)


def studies() -> str:
    """Every study with its settings as packaged."""
    parts = []
    for name in study_catalog.names():
        shown = study_catalog.describe_settings(name, study_catalog.settings(name))
        parts.append(f"## {name}\n\n{study_catalog.about(name)}.\n\n{settings_table(shown)}")
    return "\n\n".join(parts)


def command_of(algorithm: contract.Algorithm) -> str:
    """The command that runs an algorithm, by what it learns from and what it trains."""
    if "reward" in algorithm.trains:
        return "reward"
    if algorithm.online:
        return "ppo"
    kind = next(iter(algorithm.feeds.values()))
    if set(algorithm.trains.values()) & {"mlm", "seq2seq"}:
        return "pretrain"
    if "examples" in algorithm.feeds.values():
        return "finetune"
    return {"documents": "pretrain", "demonstrations": "sft", "labels": "kto"}.get(kind, "dpo")


def other_settings() -> str:
    parts = [
        ("Options of the reward `rules` (`reward_options`)", rules.Config),
        ("Options of the reward `labeler` (`reward_options`)", labeler.Config),
        ("Options of the reward `composite`, and a recipe with `parts`", composite.Config),
        ("Options of the reward `ensemble`, and a recipe with `models`", ensemble.Config),
        ("amenable.toml, in the workspace's folder", WorkspaceConfig),
    ]
    return "\n\n".join(f"### {title}\n\n{settings_table(describe(config))}" for title, config in parts)


# Commands


def commands() -> str:
    return "\n\n".join(f"## {' '.join(path)}\n\n```text\n{text}\n```" for path, text in helps(("amenable",), cli, None))


def helps(
    path: tuple[str, ...], command: click.Command, parent: click.Context | None
) -> Iterator[tuple[tuple[str, ...], str]]:
    """(words of a command, its --help), the command itself first, then those within it."""
    context = click.Context(
        command, info_name=path[-1], parent=parent, **{**command.context_settings, "terminal_width": 100}
    )
    yield path, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from helps((*path, name), inner, context)


# Data


def layouts() -> str:
    rows = []
    for layout in LAYOUTS:
        kinds = kinds_given(layout.name)
        rows.append([f"`{layout.name}`", layout.keys, ", ".join(kinds)])
    return table(["layout", "recognised by", "gives"], rows)


PROBES: tuple[dict[str, Any], ...] = (
    {"message_tree_id": "", "prompt": {}},
    {"message_id": "", "parent_id": None, "text": "", "role": ""},
    {"mapping": {}},
    {"chat": {"history": {"messages": {}}, "messages": []}},
    {"question": "", "preference": 1, "prediction 1": ""},
    {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
    {"fields": {"prompt": ""}, "responses": {}},
    {"data": {"prompt": ""}, "annotations": []},
    {"prompt": "", "chosen": "", "rejected": ""},
    {"prompt": "", "responses": [], "ranking": []},
    {"response_1": "", "response_2": "", "preference_strength": 1},
    {"prompt": "", "answers": [{"answer": "", "rank": 1}]},
    {"conversations": [{"from": "human", "value": ""}]},
    {"conversations": [{"from": "gpt", "value": ""}]},
    {"conversation": [{"role": "user", "content": ""}]},
    {"conversation": [{"role": "assistant", "content": ""}]},
    {"contents": [{"role": "user", "parts": []}]},
    {"contents": [{"role": "model", "parts": []}]},
    {"messages": [{"role": "user", "content": ""}]},
    {"messages": [{"role": "assistant", "content": ""}]},
    {"prompt": "", "response": "", "rating": 1},
    {"prompt": "", "completion": "", "label": True},
    {"prompt": "", "response": "", "label": True},
    {"prompt": "", "response": "", "is_safe": True},
    {"instruction": "", "input": "", "output": ""},
    {"instruction": "", "response": ""},
    {"text": "", "label": 1},
    {"question": "", "answer": ""},
    {"text": ""},
    {"prompt": ""},
)
"""A row of each layout, to ask the layouts themselves which kinds they give."""


def kinds_given(name: str) -> list[str]:
    if name == "own":
        return ["the kind of the record"]
    layout = next(la for la in LAYOUTS if la.name == name)
    found = sorted({kind for probe in PROBES for kind in kinds_of(layout, probe)})
    assert found, f"no probe for the layout {name}"
    return found


def registry() -> str:
    rows = []
    for name in set_names():
        found = entry(name)
        terms = found.licence + ("; share alike" if found.share_alike else "")
        terms += "; for evaluation only, as its makers ask" if found.evaluation_only else ""
        parts = f"; parts: {', '.join(found.parts)}" if found.parts and found.parts != ("*",) else ""
        notes = "; ".join(filter(None, (found.warning and f"**{found.warning}**", found.note)))
        title = f"[{found.title}]({found.home}){parts}"
        rows.append([f"`{name}`", title, ", ".join(found.kinds), terms, notes])
    return table(["name", "what", "holds", "licence", "warning, note"], rows)


# Modules


def modules() -> str:
    """The layers from top to bottom, and every file of each in one line."""
    package = ROOT / "src" / "amenable"
    width = max(len(name) for name, _ in LAYERS) + 3
    drawing = "\n".join(f"    {name + ('' if name.endswith('.py') else '/'):{width}}{what}" for name, what in LAYERS)
    parts = [drawing]
    for name, what in LAYERS:
        files = [package / name] if name.endswith(".py") else sorted((package / name).rglob("*.py"))
        rows = []
        for path in files:
            about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
            if path.name != "__init__.py" and "versions" not in path.parts:
                rows.append([f"`{path.relative_to(package).as_posix()}`", summary(about)])
        if not name.endswith(".py"):
            parts.append(f"### {name}/: {what}\n\n{table(['file', 'what it is'], rows)}")
    singles = [[f"`{n}`", summary(ast.get_docstring(ast.parse((package / n).read_text("utf-8"))))] for n, _ in LAYERS if n.endswith(".py")]  # fmt: skip
    parts.append(f"### Single files\n\n{table(['file', 'what it is'], singles)}")
    return "\n\n".join(parts)


def summary(docstring: str | None) -> str:
    """A docstring's first paragraph, up to the first line that ends a sentence."""
    kept: list[str] = []
    for line in (docstring or "").split("\n\n")[0].splitlines():
        kept.append(line.strip())
        if line.rstrip().endswith((".", ":")):
            break
    text = " ".join(kept)
    return (text[:-1] if text.endswith(":") else text).replace("<", "&lt;")


# The ladder


def write_ladder(report: Path) -> None:
    """Put a quickstart's figures into README.md."""
    readme = ROOT / "README.md"
    made = f"<!-- ladder -->\n\n{ladder(json.loads(report.read_text('utf-8')))}\n\n<!-- end of ladder -->"
    text = re.sub(
        r"<!-- ladder -->.*?<!-- end of ladder -->", lambda _: made, readme.read_text("utf-8"), flags=re.DOTALL
    )
    readme.write_text(text, encoding="utf-8")


def ladder(report: dict[str, Any]) -> str:
    rows = []
    for rung in report["ladder"]:
        spread = "" if rung["low"] == rung["high"] else f" ({100 * rung['low']:.0f}-{100 * rung['high']:.0f})"
        kl = "" if rung["kl"] is None else f"{rung['kl']:.1f}"
        bits = "" if rung["bits_per_byte"] is None else f"{rung['bits_per_byte']:.2f}"
        rows.append([rung["model"], f"{100 * rung['win_rate']:.0f} %{spread}", kl, bits])
    head = ["model", "preferred to SFT (95 % interval)", "KL to SFT, nats per response", "bits per byte"]
    prompts = report["ladder"][0]["prompts"]
    minutes = f"{report['seconds'] / 60:.1f}"
    about = f"{prompts} held-out prompts, seed {report['seed']}; the walk took {minutes} minutes."
    return f"{table(head, rows)}\n\n{about}"


def primer_counts() -> str:
    shown, ranked, tasks = primer.written_demonstrations(), primer.written_rankings(), primer.tasks()

    def row(name: str, clusters: Sequence[str]) -> list[str]:
        here = [r for r in shown if r.task in clusters]
        tagged = [str(sum(tag in r.meta.get("tags", ()) for r in here)) for tag in primer.TAGS]
        rankings = sum(r.task in clusters for r in ranked)
        return [name, str(len(here)), *tagged, str(rankings), str(sum(len(tasks[c].templates) for c in clusters))]

    rows = [row(f"`{name}`{', held out' * (name in primer.HELD_OUT)}", [name]) for name in primer.CLUSTERS]
    columns = ["cluster", "demonstrations", *(f"of them {tag}" for tag in primer.TAGS), "rankings", "templates"]
    return table(columns, [*rows, row("all", primer.CLUSTERS)])


def primer_agreement() -> str:
    found = agreement()
    rows = [["all", f"{found.overall:.2f}"]]
    rows += [[f"part: {name}", f"{value:.2f}"] for name, value in found.by_part.items()]
    rows += [[f"`{name}`", f"{value:.2f}"] for name, value in found.by_cluster.items()]
    return table([f"{found.num_responses:,} rated responses", "Spearman"], rows)


PARTS: dict[str, Callable[[], str]] = {
    "stage-settings": stage_settings,
    "shared-settings": shared_sections,
    "algorithm-settings": algorithm_settings,
    "environment-settings": environment_settings,
    "other-settings": other_settings,
    "commands": commands,
    "layouts": layouts,
    "studies": studies,
    "registry": registry,
    "modules": modules,
    "primer-counts": primer_counts,
    "primer-agreement": primer_agreement,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
