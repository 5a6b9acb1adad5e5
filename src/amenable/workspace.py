"""The Python face: a Workspace runs the same stages as the command line, with the same settings, on the same folder.

    workspace = Workspace("my-workspace")
    base = workspace.pretrain(data={"train": "texts/"}, train={"steps": 200})
    assistant = workspace.sft(model=base, data={"train": "demonstrations.jsonl"})
    print(workspace.chat(assistant).say("What is the capital of France?"))

Settings have the shape of a recipe (docs/recipes.md): tables as dicts, or full names as in `**{"train.steps": 200}`. Both may
lie over a recipe file. The command line reads and checks its settings by the functions below, so that the two cannot
drift apart. Nothing prints; torch is imported when a stage runs, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amenable.config.folder import init_workspace, is_model, own_sampling, resolve_model
from amenable.config.settings import load_toml, parse
from amenable.errors import ConfigError, nearest
from amenable.stages.catalog import STAGES, TASK_ALGORITHMS, find
from amenable.stages.events import OnEvent, RunResult, ignore
from amenable.types import Decode, Message, Record, Sampling, assistant, user

if TYPE_CHECKING:
    from amenable.config.settings import Setting
    from amenable.feedback.store import Store
    from amenable.stages.talk import Talker
    from amenable.stages.tuned import Tuned

Model = str | Path | RunResult
"""What names a model: a folder, a name under models/, run:NAME, or the result of the run that made it."""


class Workspace:
    """A folder with models, runs and feedback; made if it is not there.

    on_event: told of everything that a stage does (stages/events.py), unless a call names another listener. The
    default is silent; `amenable.cli.progress.progress(quiet=False)` gives one that draws bars.
    """

    def __init__(self, folder: str | Path = "amenable-workspace", *, on_event: OnEvent = ignore) -> None:
        self.folder = init_workspace(folder)
        self.on_event = on_event

    def __repr__(self) -> str:
        return f"Workspace({str(self.folder.root)!r})"

    # The stages. Each takes a recipe file, settings over it, and a name for the run; each returns a RunResult.

    def pretrain(
        self,
        recipe: str | Path | None = None,
        *,
        name: str | None = None,
        on_event: OnEvent | None = None,
        **settings: Any,
    ) -> RunResult:
        """Documents in, a base model out (`amenable pretrain --settings` lists the settings)."""
        return self.run("pretrain", recipe, settings, name=name, on_event=on_event)

    def sft(
        self,
        recipe: str | Path | None = None,
        *,
        name: str | None = None,
        on_event: OnEvent | None = None,
        **settings: Any,
    ) -> RunResult:
        """A base model and demonstrations in, an assistant out."""
        return self.run("sft", recipe, settings, name=name, on_event=on_event)

    def finetune(
        self,
        recipe: str | Path | None = None,
        *,
        name: str | None = None,
        on_event: OnEvent | None = None,
        **settings: Any,
    ) -> RunResult:
        """A model and examples of one task in, a model for that task out; its figures in `details`."""
        return self.run("finetune", recipe, settings, name=name, on_event=on_event)

    def reward(
        self,
        recipe: str | Path | None = None,
        *,
        name: str | None = None,
        on_event: OnEvent | None = None,
        **settings: Any,
    ) -> RunResult:
        """Comparisons, rankings, ratings or labels in, a reward model out."""
        return self.run("reward", recipe, settings, name=name, on_event=on_event)

    def ppo(
        self,
        recipe: str | Path | None = None,
        *,
        name: str | None = None,
        on_event: OnEvent | None = None,
        **settings: Any,
    ) -> RunResult:
        """Prompts and a reward in, a policy out that the reward likes and KL holds."""
        return self.run("ppo", recipe, settings, name=name, on_event=on_event)

    def dpo(
        self,
        recipe: str | Path | None = None,
        *,
        name: str | None = None,
        on_event: OnEvent | None = None,
        **settings: Any,
    ) -> RunResult:
        """Comparisons in, a policy out, without a reward model."""
        return self.run("dpo", recipe, settings, name=name, on_event=on_event)

    def kto(
        self,
        recipe: str | Path | None = None,
        *,
        name: str | None = None,
        on_event: OnEvent | None = None,
        **settings: Any,
    ) -> RunResult:
        """Yes/no labels in, a policy out, without a reward model."""
        return self.run("kto", recipe, settings, name=name, on_event=on_event)

    def sample(
        self,
        recipe: str | Path | None = None,
        *,
        name: str | None = None,
        on_event: OnEvent | None = None,
        **settings: Any,
    ) -> RunResult:
        """Prompts in, responses out, in `details["responses"]` and in responses.jsonl."""
        return self.run("sample", recipe, settings, name=name, on_event=on_event)

    def evaluate(
        self,
        recipe: str | Path | None = None,
        *,
        name: str | None = None,
        on_event: OnEvent | None = None,
        **settings: Any,
    ) -> RunResult:
        """Models side by side on the same prompts: figures in `details`, a page in `files["report"]`."""
        return self.run("evaluate", recipe, settings, name=name, on_event=on_event)

    def assess(
        self,
        recipe: str | Path | None = None,
        *,
        name: str | None = None,
        on_event: OnEvent | None = None,
        **settings: Any,
    ) -> RunResult:
        """Models measured as assistants, here or behind a URL: figures in `details`, a page in `files["report"]`."""
        return self.run("assess", recipe, settings, name=name, on_event=on_event)

    def quickstart(
        self,
        recipe: str | Path | None = None,
        *,
        name: str | None = None,
        on_event: OnEvent | None = None,
        **settings: Any,
    ) -> RunResult:
        """The whole road on text that the package carries; an interrupted one with the same settings goes on."""
        return self.run("quickstart", recipe, settings, name=name, on_event=on_event)

    def study(
        self,
        study: str,
        recipe: str | Path | None = None,
        *,
        quick: bool = False,
        on_event: OnEvent | None = None,
        **settings: Any,
    ) -> RunResult:
        """Reproduce a known figure of the literature (`amenable study` lists them); an unfinished one goes on."""
        from amenable.studies import catalog

        mapping = overlay(catalog.settings(study, quick=quick), catalog.read_recipe(study, recipe) if recipe else {})
        from amenable.studies.study import run

        where = f"study {study}"
        mapping = overlay(mapping, settings)
        return run(study, mapping, where=where, workspace=self.folder, on_event=on_event or self.on_event)

    def run(
        self,
        stage: str,
        recipe: str | Path | None = None,
        settings: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        on_event: OnEvent | None = None,
    ) -> RunResult:
        """Run any stage by its command's name.

        Raises ConfigError for a setting that is unknown, missing, of the wrong type or out of range.
        """
        mapping, where = read_recipe(recipe, stage) if recipe is not None else ({}, f"{stage}()")
        mapping = overlay(mapping, settings or {})
        config, function = checked(stage, mapping, where=where)
        return function(config, workspace=self.folder, name=name, on_event=on_event or self.on_event)

    # What the folder holds.

    def models(self) -> list[str]:
        """The models, as other calls take them: names under models/, then run:NAME, oldest run first."""
        runs = [f"run:{name}" for name in self.folder.run_names() if is_model(self.folder.runs / name / "model")]
        return self.folder.model_names() + runs

    def runs(self) -> list[str]:
        """The names of the runs, oldest first."""
        return self.folder.run_names()

    def resume(self, run: str | RunResult, *, on_event: OnEvent | None = None) -> RunResult:
        """Go on with a run where its last checkpoint stood, bit for bit.

        Raises ResumeError, naming the difference, if data, model, settings or versions are not what they were.
        """
        from amenable.stages.resume import resume

        folder = self.folder.run(run.run if isinstance(run, RunResult) else run)
        return resume(folder, on_event=on_event or self.on_event)

    def chat(
        self,
        model: Model,
        *,
        system: str = "",
        sampling: Sampling | None = None,
        seed: int = 0,
        decode: Decode = "auto",
    ) -> Conversation:
        """A conversation with a model; decode: see the setting of that name.

        sampling: None draws as the model's generation_config.json says, like `amenable chat`.
        Raises ModelError if there is no such model, ConfigError for a sampling setting that is out of range.
        """
        import msgspec

        from amenable.stages.talk import Talker

        folder = resolve_model(str(_plain(model)), self.folder)
        drawn = msgspec.to_builtins(sampling or own_sampling(folder))
        sampling = parse(Sampling, drawn, where="chat()", prefix="sampling.")
        talker = Talker(folder, decode=decode)
        return Conversation(talker, system=system, sampling=sampling, seed=seed)

    def tuned(self, model: Model) -> Tuned:
        """A model that was fine-tuned to a task: `say(examples)` tells a class, a number, tags, an answer or a text for each.

        Raises ModelError if there is no such model, or if it was not fine-tuned.
        """
        from amenable.stages.tuned import open_tuned

        return open_tuned(str(_plain(model)), self.folder)

    def feedback(self) -> Store:
        """The feedback database, made if need be; `with workspace.feedback() as store:` closes it again."""
        from amenable.feedback.store import Store

        return Store.open(self.folder.database)


class Conversation:
    """What was said to a model and what it answered. Same seed and words, same answers."""

    def __init__(self, talker: Talker, *, system: str, sampling: Sampling, seed: int) -> None:
        self.talker, self.sampling, self.seed = talker, sampling, seed
        self.messages: tuple[Message, ...] = (Message(role="system", content=system),) if system else ()

    def say(self, text: str) -> str:
        """The answer to what the user says, which both become part of the conversation."""
        return "".join(self.stream(text))

    def stream(self, text: str) -> Iterator[str]:
        """The answer piece by piece. An answer that is broken off counts as far as it came; an error before it leaves all as it was."""
        asked, said = (*self.messages, user(text)), ""
        for piece in self.talker.stream(asked, self.sampling, self.seed + len(asked)):
            said += piece
            self.messages = (*asked, assistant(said))
            yield piece
        self.messages = (*asked, assistant(said))


# Shared with the command line


def checked(stage: str, mapping: Mapping[str, Any], *, where: str) -> tuple[Any, Callable[..., RunResult]]:
    """(a stage's Config, its function) for some settings. where: what they came from, for error messages.

    Raises ConfigError, which names the nearest setting, the algorithm's own included.
    """
    config_type, function = find(stage)
    further = [setting.name for setting in algorithm_settings(stage, config_type, mapping)]
    config: Any = parse(config_type, mapping, where=where, further=further)
    if further:
        from amenable.train.contract import find as find_algorithm

        own = {key: value for key, value in config.algorithm.items() if key != "name"}
        parse(find_algorithm(_algorithm(stage, mapping)).__dict__["Config"], own, where=where, prefix="algorithm.")
    return config, function


def read_recipe(path: str | Path, stage: str) -> tuple[dict[str, Any], str]:
    """(a stage's settings, where they stand) in a recipe of that stage alone, or in one with a table for each stage.

    Raises ConfigError if the recipe is for other stages.
    """
    mapping, where = load_toml(path), str(path)
    tables = [key for key in mapping if key in STAGES and isinstance(mapping[key], dict)]
    strange = [key for key in mapping if key not in tables]
    if tables and strange:
        near = nearest(strange[0], STAGES)
        mend = f"did you mean [{near}]?" if near else "put it into the table of its stage"
        raise ConfigError(f"{strange[0]!r} stands beside the stages {', '.join(tables)}", where=where, mend=mend)
    if tables:
        if stage not in tables:
            mend = f"it has: {', '.join(tables)}"
            raise ConfigError(f"the recipe has no section [{stage}]", where=where, mend=mend)
        mapping, where = mapping[stage], f"{where} [{stage}]"
    if "stage" in mapping and mapping.pop("stage") != stage:
        raise ConfigError(f"this recipe is not for `amenable {stage}`", where=where)
    return mapping, where


def algorithm_settings(stage: str, config_type: type, mapping: Mapping[str, Any]) -> list[Setting]:
    """The settings of the algorithm that the recipe names (else the stage's own), as they stand in a recipe."""
    import msgspec

    from amenable.config.settings import Setting, describe
    from amenable.train import contract

    if "algorithm" not in {field.name for field in msgspec.structs.fields(config_type)}:
        return []
    name = _algorithm(stage, mapping)
    about = Setting(
        name="algorithm.name", type="text", default=f'"{name}"', description="file in algorithms/, or module"
    )
    own = describe(contract.find(name).__dict__["Config"])
    return [about, *(s.replace(name=f"algorithm.{s.name}") for s in own)]


def all_settings(stage: str, mapping: Mapping[str, Any]) -> list[Setting]:
    """The stage's settings with those of the recipe's algorithm in the place of its section."""
    from amenable.config.settings import describe

    config_type, _ = find(stage)
    own = algorithm_settings(stage, config_type, mapping)
    return [s for setting in describe(config_type) for s in (own if setting.name == "algorithm" else [setting])]


def _algorithm(stage: str, mapping: Mapping[str, Any]) -> str:
    """The algorithm that a recipe names, else the stage's own."""
    section = mapping.get("algorithm", {})
    named = section.get("name") if isinstance(section, dict) else None
    return named if isinstance(named, str) else default_algorithm(stage, mapping)


def default_algorithm(stage: str, mapping: Mapping[str, Any]) -> str:
    """The algorithm that a stage uses where the recipe names none; of finetune it is the task's."""
    if stage == "finetune":
        return TASK_ALGORITHMS.get(str(mapping.get("task")), "classify")
    return "reward_pairwise" if stage == "reward" else stage


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, table by table; a full name reaches into tables; results stand for their models.

    >>> overlay({"train": {"steps": 5, "seed": 1}}, {"model": Path("base"), "train.steps": 9})
    {'train': {'steps': 9, 'seed': 1}, 'model': 'base'}
    """
    out = {key: _plain(value) for key, value in base.items()}
    for name, value in over.items():
        head, _, rest = name.partition(".")
        if rest or isinstance(value, Mapping):
            table = out.get(head)
            out[head] = overlay(table if isinstance(table, dict) else {}, {rest: value} if rest else value)
        else:
            out[head] = _plain(value)
    return out


def _plain(value: Any) -> Any:
    """A setting's value as TOML would hold it."""
    if isinstance(value, RunResult):
        if value.model is None:
            raise ConfigError(f"the run {value.run!r} made no model", where=value.folder)
        return value.model
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Record):
        return {key: _plain(getattr(value, key)) for key in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(inner) for inner in value]
    return "none" if value is None else value
