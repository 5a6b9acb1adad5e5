"""Where step metrics go beside metrics.jsonl: TensorBoard, Weights & Biases, MLflow. Each is one small class."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from amenable.errors import ConfigError, MissingExtraError, nearest


class Tracker(Protocol):
    """Receives the metrics of each step."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in the run's folder: `tensorboard --logdir runs`."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class WeightsAndBiases:
    """One W&B run named after the run's folder; WANDB_MODE and the other variables of wandb apply."""

    def __init__(self, folder: Path) -> None:
        import wandb

        self.run: Any = wandb.init(
            project="amenable", name=folder.name, dir=str(folder), resume="allow", id=folder.name
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.run.log(dict(metrics), step=step)

    def close(self) -> None:
        self.run.finish()


class MLflow:
    """One MLflow run named after the run's folder; MLFLOW_TRACKING_URI applies."""

    def __init__(self, folder: Path) -> None:
        import mlflow

        self.mlflow: Any = mlflow
        mlflow.set_experiment("amenable")
        mlflow.start_run(run_name=folder.name)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.mlflow.log_metrics({name.replace("/", "."): value for name, value in metrics.items()}, step=step)

    def close(self) -> None:
        self.mlflow.end_run()


TRACKERS: dict[str, type[TensorBoard] | type[WeightsAndBiases] | type[MLflow]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


def open_trackers(names: Sequence[str], folder: Path) -> list[Tracker]:
    """The trackers of these names. Raises as `check_trackers`."""
    check_trackers(names)
    return [TRACKERS[name](folder) for name in names]


def check_trackers(names: Sequence[str]) -> None:
    """Raise ConfigError for an unknown tracker, MissingExtraError for one not installed."""
    for name in names:
        if name not in TRACKERS:
            near = nearest(name, TRACKERS)
            raise ConfigError(
                f"there is no tracker named {name!r}",
                where="train.trackers",
                mend=(f"did you mean {near!r}? " if near else "") + f"known: {', '.join(TRACKERS)}",
            )
        if name != "tensorboard" and importlib.util.find_spec(name) is None:
            raise MissingExtraError(name, extra=name, purpose=f"tracking with {TRACKERS[name].__name__}")
