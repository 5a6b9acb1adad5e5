"""Settings of the loop, shared by every stage that trains: steps, batch numbers, optimiser, saving.

The four batch numbers, each defined once:
    units_per_step        prompts (online), pairs, rows or documents' rows that one step learns from
    responses_per_prompt  responses drawn for each prompt (online only; stages/online.py)
    minibatches           optimiser updates that one step's batch is cut into, per inner epoch
    micro_tokens          tokens in one forward pass: memory only, never the result
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from amenable.types import Record


class OptimizerConfig(Record, frozen=True):
    """AdamW (Loshchilov & Hutter 2019) or Muon (Jordan et al. 2024), and the schedule."""

    name: Annotated[
        Literal["adamw", "muon"],
        Meta(description="muon: for the matrices within the layers, with adamw for the rest at the same learning rate"),
    ] = "adamw"
    learning_rate: Annotated[float, Meta(gt=0, description="peak step size")] = 3e-4
    schedule: Annotated[
        Literal["constant", "linear", "cosine", "trapezoid"],
        Meta(description="course after warm-up; falls end at final_share; trapezoid: constant, then a linear fall"),
    ] = "cosine"
    final_share: Annotated[float, Meta(ge=0, le=1, description="last learning rate as a share of the peak")] = 0.1
    warmup_share: Annotated[float, Meta(ge=0, lt=1, description="share of all steps spent warming up linearly")] = 0.05
    fall_share: Annotated[
        float,
        Meta(gt=0, le=1, description="share of all steps over which a trapezoid falls; no other schedule reads it"),
    ] = 0.3
    beta1: Annotated[float, Meta(ge=0, lt=1, description="decay of the gradient's mean")] = 0.9
    beta2: Annotated[float, Meta(ge=0, lt=1, description="decay of the gradient's square")] = 0.95
    epsilon: Annotated[float, Meta(gt=0, description="added to the denominator")] = 1e-8
    muon_momentum: Annotated[float, Meta(ge=0, lt=1, description="decay of the gradient's mean in muon")] = 0.95
    weight_decay: Annotated[float, Meta(ge=0, description="on matrices only, never on norms and biases")] = 0.01
    max_grad_norm: Annotated[float, Meta(gt=0, description="each role's gradient is scaled down to this L2 norm")] = 1.0
    critic_learning_rate: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(
            description="step size of a critic that is a model of its own (ppo with critic = own), else not used; null: "
            "learning_rate; 0: it stays as it is"
        ),
    ] = None


class TrainConfig(Record, frozen=True):
    """How long, how much at once, and how often to save."""

    steps: Annotated[int, Meta(ge=0, description="optimisation steps; 0: as many as `epochs` takes")] = 0
    epochs: Annotated[float, Meta(ge=0, description="passes over the data; used where steps is 0")] = 1.0
    units_per_step: Annotated[
        int,
        Meta(ge=1, description="prompts, pairs, groups or rows per step (documents: rows of one context)"),
    ] = 32
    minibatches: Annotated[int, Meta(ge=1, description="optimiser updates per step and inner epoch")] = 1
    inner_epochs: Annotated[int, Meta(ge=1, description="passes over one step's batch")] = 1
    micro_tokens: Annotated[int, Meta(ge=1, description="tokens per forward pass; memory only, never the result")] = (
        8192
    )
    optimizer: OptimizerConfig = OptimizerConfig()
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"], Meta(description="of matrix products; weights stay float32")
    ] = "auto"
    paths: Annotated[
        Literal["fastest", "plain"],
        Meta(description="how products and attention are computed: as measured on this machine, or torch's float32"),
    ] = "fastest"
    compile: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description="layers by torch.compile: on, off, or where a C++ compiler is at hand, no compiled operations of amenable's "
            "own are chosen, and the run takes 5e14 operations (6 x parameters x tokens, rows counted as full; about an hour of one core)"
        ),
    ] = "auto"
    checkpointing: Annotated[
        bool | Literal["auto"],
        Meta(
            description="recompute activations in the backward pass to save memory; auto: where those of one forward pass "
            "would take half of the free memory"
        ),
    ] = "auto"
    seed: Annotated[int, Meta(ge=0, description="of everything random in the run")] = 0
    save_every: Annotated[int, Meta(ge=0, description="steps between checkpoints; 0: only at the end")] = 100
    keep_checkpoints: Annotated[int, Meta(ge=1, description="newest checkpoints to keep")] = 2
    keep_models_every: Annotated[
        int,
        Meta(ge=0, description="steps between models kept for good, as run:NAME@STEP; 0: only the last, as run:NAME"),
    ] = 0
    max_skipped: Annotated[int, Meta(ge=0, description="non-finite steps in a row before the run gives up")] = 3
    dump_batches: Annotated[bool, Meta(description="write every step's batch for `runs replay`")] = False
    validate_every: Annotated[int, Meta(ge=0, description="steps between measurements on held-out data; 0: never")] = 50
    trackers: Annotated[
        tuple[str, ...], Meta(description="where metrics go beside metrics.jsonl: tensorboard, wandb, mlflow")
    ] = ()
