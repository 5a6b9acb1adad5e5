"""One training run from start to finish: folder, checks, loop, log, checkpoints, interruption, result.

Every stage that trains builds a learner and a source and hands them here. A run killed at any moment goes on bit for bit
where its last checkpoint stood; Ctrl-C ends the running step, writes a checkpoint and stops.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import msgspec
import torch

from amenable.batch import Batch
from amenable.config.folder import NAME, WorkspaceFolder, new_run
from amenable.config.settings import dump_toml
from amenable.errors import ParkedError, ResourceError, RolloutError
from amenable.models.compile import compile_layers
from amenable.models.folder import model_hash
from amenable.models.paths import Paths
from amenable.stages.build import ON_CPU, Compute, set_up, to_be_checkpointed, to_be_compiled
from amenable.stages.ctrl_c import Interrupted, ctrl_c
from amenable.stages.events import Event, OnEvent, RunResult
from amenable.stages.lineage import note_model, note_run
from amenable.stages.resources import check_resources, free_memory_bytes
from amenable.stages.trial import TrialOver, forecast
from amenable.train import checkpoint
from amenable.train.contract import Algorithm, Metrics
from amenable.train.dump import dump_batches, load_batches
from amenable.train.learner import Learner, schedule
from amenable.train.loop import NonFiniteError, Progress, Scorer, Source, learn, train
from amenable.train.run_folder import RunFolder, environment, hold
from amenable.train.settings import TrainConfig
from amenable.train.trackers import Tracker, check_trackers, open_trackers
from amenable.types import StepReport

NEW, RESUME = "new", "resume"
TRIAL = "trial"  # a few steps in a folder that is thrown away, to forecast a run: raises TrialOver
SaveModel = Callable[[Path, dict[str, Any], bool], None]
"""(folder, what amenable.json says, whether the model learns on afterwards): writes the model as it stands."""
REPLAY = "replay:"  # followed by the number of the step whose dumped batch is looked at again


@dataclass
class Job:
    """A run under way. `data` fills up with what each stream was made of, for data.json and the check on resume."""

    stage: str
    config: Any
    folder: RunFolder
    mode: str
    on_event: OnEvent
    data: dict[str, Any] = field(default_factory=dict)
    compute: Compute = ON_CPU
    opened: float = field(default_factory=time.perf_counter)
    _held: IO[str] | None = None
    _pressed: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def open(
        cls, stage: str, config: Any, workspace: WorkspaceFolder, name: str | None, mode: str, on_event: OnEvent
    ) -> Job:
        """The folder of a new run, or of one that is there: to resume, or to replay a step of.

        mode: NEW, RESUME, TRIAL, or REPLAY + step. Raises ConfigError if the name of a new run is taken.
        """
        if mode == TRIAL:
            return cls(stage, config, RunFolder(Path(tempfile.mkdtemp(prefix="amenable-trial-"))), mode, on_event)
        if mode == NEW and name and NAME.fullmatch(name) and _never_began(workspace.runs / name):
            shutil.rmtree(workspace.runs / name)
        folder = new_run(workspace, stage, name) if mode == NEW else workspace.run(name or "")
        return cls(stage, config, RunFolder(folder), mode, on_event)

    def __enter__(self) -> Job:
        if self.mode in (NEW, RESUME):
            self._held = hold(self.folder.folder)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """A run that failed before its first step leaves nothing but the rejects of its data, and its name is free."""
        folder = self.folder.folder
        if self._held is not None:
            self._held.close()  # its file stays: another command may wait for it, and a new one would be another lock
        if self.mode == TRIAL:
            shutil.rmtree(folder, ignore_errors=True)
        if error is None or self.mode == TRIAL or self.mode.startswith(REPLAY):
            return
        if (folder / "config.toml").exists():
            if self.folder.status == "running":
                with contextlib.suppress(ResourceError):
                    if isinstance(error, ParkedError):
                        self.folder.set_status("parked", str(error), waits_for=error.tasks)
                    else:
                        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
                        self.folder.set_status(status, str(error) or type(error).__name__)
        elif not self.is_new:
            return
        elif self.rejects.exists():
            self.folder.set_status("failed", str(error))
        else:
            shutil.rmtree(folder)

    @property
    def is_new(self) -> bool:
        return self.mode in (NEW, TRIAL)

    @property
    def name(self) -> str:
        return self.folder.folder.name

    @property
    def workspace(self) -> WorkspaceFolder:
        return WorkspaceFolder(self.folder.folder.parent.parent)

    def snapshots(self, label: str = "") -> dict[str, str]:
        """The snapshots of feedback that a run began with, by source; empty for a new one. label: see align.open_data."""
        before = {} if self.is_new else self.folder.read_json("data.json")
        return {
            name.removeprefix(label): about["snapshot"]
            for name, about in before.items()
            if name.startswith(label) and isinstance(about, dict) and "snapshot" in about
        }

    @property
    def rejects(self) -> Path:
        """Where bad rows of the data go."""
        return self.folder.folder / "rejects.jsonl"

    def set_up(self, config: TrainConfig) -> Compute:
        """Seed everything and choose how to compute; a run that goes on computes as it began."""
        began = None if self.is_new else self.folder.read_json("environment.json").get("paths")
        self.compute = set_up(config, msgspec.convert(began, Paths) if began else None)
        return self.compute

    def say(self, text: str, kind: str = "message") -> None:
        self.on_event(Event(stage=self.stage, kind=kind, text=text))  # type: ignore[arg-type]

    def train(
        self,
        algorithm: Algorithm,
        learner: Learner,
        source: Source,
        *,
        steps: int,
        scorers: Mapping[str, Scorer] | None = None,
        validate: Callable[[], dict[str, float]] | None = None,
        on_batch: Callable[[int, dict[str, Batch], Metrics], None] | None = None,
        watch: Callable[[int], None] | None = None,
        watch_every: int | None = None,
        save_model: SaveModel,
    ) -> RunResult:
        """Run the loop to its end and write the model. Raises Interrupted after Ctrl-C, with a checkpoint written.

        watch: sees the model before the first step, after every `watch_every` steps (None: as often as it is measured on
        held-out data; 0: never) and at the end.
        """
        config = learner.config
        if watch_every and watch is None:
            self.say("no prompts are held out that the model could answer: sample_every writes nothing", "warning")
        watch_every = config.validate_every if watch_every is None else watch_every
        watch = watch if watch_every else None
        started = time.perf_counter()
        if self.is_new:
            paths = self.compute.paths.replace(
                compiled=to_be_compiled(learner, steps),
                checkpointing=to_be_checkpointed(learner, free_memory_bytes(learner.device)),
            )
            self.compute = replace(self.compute, paths=paths)
        if self.compute.paths.compiled:
            for actor in learner.actors.values():
                compile_layers(actor.model)
            self.say("layers are compiled by torch.compile (train.compile)")
        if self.compute.paths.checkpointing:
            for actor in learner.actors.values():
                actor.model.checkpointing = True
            self.say("activations are recomputed in the backward pass, to save memory (train.checkpointing)")
        progress = Progress(generator=torch.Generator().manual_seed(config.seed))
        if self.mode.startswith(REPLAY):
            return self._replay(algorithm, learner, progress, int(self.mode.removeprefix(REPLAY)), steps)
        if self.mode == TRIAL:
            progress.algorithm_state = algorithm.initial_state()
            loop = train(algorithm, learner, source, steps=steps, progress=progress, scorers=scorers)
            preparing = time.perf_counter() - self.opened
            found = forecast(
                loop,
                steps,
                config,
                preparing=preparing,
                validate=validate,
                watch=(lambda: watch(0)) if watch else None,
                watch_every=watch_every,
                save=lambda: checkpoint.save(self.folder.checkpoints, learner, source, progress, keep=1),
            )
            raise TrialOver(found)
        check_trackers(config.trackers)
        self._begin(algorithm, learner, source, progress, steps)
        last = self._last(progress)
        trackers = open_trackers(config.trackers, self.folder.folder)

        def dump(step: int, batches: dict[str, Batch]) -> None:
            dump_batches(self.folder.dumps, step, batches, learner, progress, algorithm)

        def see(step: int, batches: dict[str, Batch], metrics: Metrics) -> None:
            if config.dump_batches:
                dump(step, batches)
            if on_batch:
                on_batch(step, batches, metrics)

        loop = train(
            algorithm,
            learner,
            source,
            steps=steps,
            progress=progress,
            scorers=scorers,
            on_batch=see,
            on_bad_batch=lambda step, batches: None if config.dump_batches else dump(step, batches),
        )
        self.on_event(Event(stage=self.stage, kind="start", text=f"{self.stage} {self.name}", total=float(steps)))
        try:
            with ctrl_c() as pressed:
                self._pressed = pressed
                if watch and progress.step == 0:
                    watch(0)
                looped = time.perf_counter()
                for last in loop:
                    last = self._report(last, steps, validate, trackers, learner)
                    if watch and (last.step % watch_every == 0 or last.step == steps or last.stop):
                        watch(last.step)
                    # a kept model first: behind the step's checkpoint, a kill between the two would lose it for good
                    if config.keep_models_every and last.step % config.keep_models_every == 0:
                        self._require_finite(learner, last.step)
                        save_model(self.folder.kept_model(last.step), self._about(last), True)
                    if pressed.is_set():
                        self._interrupt(learner, source, progress)
                    if config.save_every and last.step % config.save_every == 0 and last.step < steps:
                        self._save(learner, source, progress)
                    if last.step == self._first + 3:
                        self._expect(last, steps, looped)
                return self._finish(learner, source, progress, last, started, save_model)
        except NonFiniteError as error:
            if not learner.not_finite():  # beside the checkpoints that are there: it may be worse than they are
                checkpoint.save(self.folder.checkpoints, learner, source, progress, keep=config.keep_checkpoints + 1)
            self.folder.set_status("failed", error.what)
            raise
        except RolloutError as error:
            if learner.not_finite():
                raise self._broken(learner, progress.step) from error
            raise
        except ResourceError as error:
            with contextlib.suppress(ResourceError):
                self.folder.set_status("failed", error.what)
            raise
        finally:
            for tracker in trackers:
                tracker.close()

    def _begin(self, algorithm: Algorithm, learner: Learner, source: Source, progress: Progress, steps: int) -> None:
        config = learner.config
        now = environment(self.compute.paths, device=learner.device)
        now["settings"] = msgspec.to_builtins(self.config)
        if self.mode == RESUME:
            self._go_back_to_threads()
            now["threads"] = torch.get_num_threads()
            self.folder.check_unchanged(environment=now, data=self.data)
            found, notes = checkpoint.latest_sound(self.folder.checkpoints)
            for note in notes:
                self.say(f"left out a checkpoint: {note}", "warning")
            checkpoint.set_aside(self.folder.checkpoints, found)
            if found:
                checkpoint.load(found, algorithm, learner, source, progress)
            for file, lost in self.folder.cut_after(progress.step or -1).items():  # step 0 is watched again
                self.say(f"{lost} damaged lines of {file} are left out", "warning")
            self.folder.set_status("running")
            self.say(f"going on after step {progress.step} of {steps}")
        else:
            check_resources(self.folder.folder, learner, config, steps)
            self.folder.create(
                config_toml=f'stage = "{self.stage}"\n' + dump_toml(self.config), environment=now, data=self.data
            )
        note_run(self.workspace, self.name, self.data)
        self._first = progress.step
        if progress.step == 0:
            progress.algorithm_state = algorithm.initial_state()

    def _replay(self, algorithm: Algorithm, learner: Learner, progress: Progress, step: int, steps: int) -> RunResult:
        """Learn from a dumped batch once more, from the weights that stood before it; nothing is written."""
        batches, tensors, state = load_batches(self.folder.dumps / f"step-{step:06d}")
        learner.load_state(tensors, state["learner"])
        progress.algorithm_state = msgspec.convert(state["state"], algorithm.state_type)
        progress.generator.set_state(tensors["generator/progress"])
        metrics = learn(algorithm, learner, batches, progress, rate=schedule(learner.config.optimizer, step, steps))
        shapes = {name: list(b.tokens_BT.shape) for name, b in batches.items()}
        odd = [
            f"{name}/{column}: {int((~values.isfinite()).sum())} values not finite"
            for name, b in batches.items()
            for column, values in b.columns.items()
            if not values.isfinite().all()
        ]
        odd += [
            f"weights {name} are not finite"
            for name, p in learner.parameters()
            if not tensors[f"weights/{name}"].isfinite().all()
        ]
        return RunResult(
            stage=self.stage,
            run=self.name,
            folder=str(self.folder.folder),
            steps=step,
            metrics=metrics,
            text="; ".join(odd) or "all columns and weights of the dumped batch are finite",
            details={"shapes": shapes},
        )

    def _go_back_to_threads(self) -> None:
        threads = int(self.folder.read_json("environment.json")["threads"])
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)
            self.say(f"using {threads} threads, as when the run began")

    def _report(
        self,
        report: StepReport,
        steps: int,
        validate: Callable[[], dict[str, float]] | None,
        trackers: list[Tracker],
        learner: Learner,
    ) -> StepReport:
        """Log a step and tell of it. Returns the report with what was measured on held-out data.

        Raises NonFiniteError, where the step could not be learned from or is measured, for weights that are not finite.
        """
        metrics = dict(report.metrics)
        every = learner.config.validate_every
        due = validate is not None and every > 0 and (report.step % every == 0 or report.step == steps)
        broken = (report.skipped or due) and bool(learner.not_finite())
        if validate and due and not broken:
            metrics.update(validate())
        report = report.replace(metrics=metrics)
        self.folder.log_step(report)
        for tracker in trackers:
            tracker.log(report.step, metrics)
        if report.skipped:
            self.say(f"step {report.step} was not finite: skipped, its batch is in dumps/", "warning")
        if report.stop:
            self.say(f"stopped after step {report.step}: {report.stop}", "warning")
        if broken:
            raise self._broken(learner, report.step)
        shown = ("loss", "nats_per_token", "accuracy", "score", "kl", "response_tokens", "entropy")
        self.on_event(
            Event(
                stage=self.stage,
                done=float(report.step),
                total=float(steps),
                metrics={name: metrics[name] for name in shown if name in metrics},
            )
        )
        return report

    def _last(self, progress: Progress) -> StepReport:
        """The last finished step as it was logged; step 0 of a new run."""
        logged = {"step": 0, "num_tokens": 0, "seconds": 0.0}
        for row in self.folder.rows("metrics.jsonl"):
            logged = row
        return StepReport(
            step=progress.step,
            metrics={k: v for k, v in logged.items() if k not in StepReport.__struct_fields__ and v is not None},
            num_tokens=int(logged["num_tokens"]),
            seconds=logged["seconds"],
            stop=progress.stop,
        )

    def _expect(self, report: StepReport, steps: int, started: float) -> None:
        per_step = (time.perf_counter() - started) / (report.step - self._first)
        seconds = per_step * (steps - report.step)
        if seconds > 20:
            self.say(f"about {_duration(seconds)} to go at {per_step:.2f} s a step")

    def _save(self, learner: Learner, source: Source, progress: Progress) -> None:
        """Write a checkpoint. Raises NonFiniteError before one of weights that are not finite takes a good one's place."""
        self._require_finite(learner, progress.step)
        checkpoint.save(self.folder.checkpoints, learner, source, progress, keep=learner.config.keep_checkpoints)

    def _require_finite(self, learner: Learner, step: int) -> None:
        if learner.not_finite():
            raise self._broken(learner, step)

    def _broken(self, learner: Learner, step: int) -> NonFiniteError:
        names = learner.not_finite()
        good, _ = checkpoint.latest_sound(self.folder.checkpoints)
        kept = f"the last good checkpoint is {good.name}" if good else "there is no checkpoint yet (train.save_every)"
        return NonFiniteError(
            f"training made {len(names)} of the model's {len(list(learner.parameters()))} weights not finite, e.g. {names[0]}",
            where=f"{self.folder.folder}, step {step}",
            mend=f"train again with a lower train.optimizer.learning_rate (now {learner.config.optimizer.learning_rate:g}); {kept}",
        )

    def _interrupt(self, learner: Learner, source: Source, progress: Progress) -> None:
        self._save(learner, source, progress)
        self.folder.set_status("interrupted", f"Ctrl-C after step {progress.step}")
        raise self._interrupted(f"after step {progress.step}; nothing is lost")

    def _interrupted(self, when: str) -> Interrupted:
        mend = f"`amenable runs resume {self.name}` goes on from there"
        return Interrupted(f"stopped by Ctrl-C {when}", where=str(self.folder.folder), mend=mend)

    def heed_ctrl_c(self, doing: str) -> None:
        """Raise Interrupted if Ctrl-C was pressed in what `save_model` does, when the last step's checkpoint is written."""
        if self._pressed.is_set():
            self.folder.set_status("interrupted", f"Ctrl-C in {doing}")
            raise self._interrupted(f"in {doing}, which is begun anew")

    def _finish(
        self,
        learner: Learner,
        source: Source,
        progress: Progress,
        last: StepReport,
        started: float,
        save_model: SaveModel,
    ) -> RunResult:
        if progress.skipped_in_a_row > 1:  # no further step can show that it was the batch
            raise NonFiniteError(
                f"the last {progress.skipped_in_a_row} steps had a loss or gradient that is not finite",
                where=f"{self.folder.folder}, step {progress.step}",
                mend="lower train.optimizer.learning_rate; `amenable runs replay` shows the batch that was dumped",
            )
        self._save(learner, source, progress)
        about = self._about(last)
        save_model(self.folder.model, about, False)
        self._note_models()
        self.folder.set_status("finished", last.stop or "")
        self.on_event(Event(stage=self.stage, kind="done", text=f"{self.stage} done: {self.folder.model}"))
        return RunResult(
            stage=self.stage,
            run=self.name,
            folder=str(self.folder.folder),
            model=str(self.folder.model),
            steps=progress.step,
            seconds=time.perf_counter() - started,
            metrics=about["metrics"],
            stopped=last.stop,
        )

    def _about(self, last: StepReport) -> dict[str, Any]:
        """What amenable.json says of a model that this run made."""
        metrics = {k: v for k, v in last.metrics.items() if math.isfinite(v)}
        return {"run": self.name, "stage": self.stage, "steps": last.step, "metrics": metrics}

    def _note_models(self) -> None:
        """Lineage: the result and the models kept on the way come of this run and of the model that it began from."""
        note_run(self.workspace, self.name, self.data)  # again: people who are its reward have said more
        made = {f"run:{self.name}": self.folder.model}
        made |= {f"run:{self.name}@{step}": path for step, path in self.workspace.kept_models(self.name).items()}
        known: set[str] = set()
        for name, folder in made.items():
            if (digest := model_hash(folder)) not in known:
                known.add(digest)
                why = note_model(self.workspace, digest, name=name, run=self.name, parent=str(self.data["model"]))
                if why:
                    self.say(f"lineage: {why}", "warning")


def _never_began(folder: Path) -> bool:
    """Whether a run failed in its preparations. One that is just being prepared has no status yet."""
    return (folder / "status.json").exists() and not (folder / "config.toml").exists()


def _duration(seconds: float) -> str:
    """A length of time for people.

    >>> _duration(75), _duration(7260)
    ('1 min 15 s', '2 h 1 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
