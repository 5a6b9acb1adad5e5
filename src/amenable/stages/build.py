"""From the model, algorithm and train sections of a recipe to objects: policy, heads, learner, reference, engine."""

from __future__ import annotations

import copy
import math
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from msgspec import Meta

from amenable.batch import Batch
from amenable.chat.render import default_template_for
from amenable.chat.tokenizer import Tokenizer
from amenable.config.folder import WorkspaceFolder, keep_sampling, resolve_model
from amenable.config.settings import parse
from amenable.errors import ConfigError, ModelError
from amenable.models import lora as adapters
from amenable.models.activations import kept_bytes
from amenable.models.compile import why_not
from amenable.models.config import DecoderConfig
from amenable.models.decoder import Decoder
from amenable.models.folder import load_model, model_hash, new_model, save_model
from amenable.models.forward import Actor, Unembedding
from amenable.models.fresh import AutoShape, new_encoder, new_encoder_decoder
from amenable.models.heads import ScalarHead, ValueHead
from amenable.models.paths import PLAIN, Paths, choose
from amenable.models.weights import adapted, read_json
from amenable.rollout.slow import require_writer
from amenable.train.contract import Algorithm, build, find
from amenable.train.learner import Learner
from amenable.train.loop import accumulate
from amenable.train.memory import bound_kernels, keep_freed_memory
from amenable.train.settings import TrainConfig
from amenable.types import Decode, Record

WORK_TO_COMPILE = 5e14
"""Operations of a run from which on compiling its layers, up to a minute, pays: some 5 % of an hour at 150 GFLOP/s."""
NEW_MODEL = Path("new")  # stands for the folder of a model that was not there before


class LoraSettings(Record, frozen=True):
    """Low-rank adaptation (Hu et al. 2021); rank 0 trains all weights."""

    rank: Annotated[int, Meta(ge=0, description="rank of the update; 0: full fine-tuning")] = 0
    alpha: Annotated[float, Meta(gt=0, description="the update is scaled by alpha / rank")] = 16.0
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on the adapter's input while training")] = 0.0
    targets: Annotated[
        tuple[str, ...], Meta(description="names of the linear layers to adapt; empty: attention and MLP projections")
    ] = ()
    continued: Annotated[
        bool, Meta(description="go on with the adapter that the model is or has, of its rank, instead of a new one")
    ] = False


class DecoderShape(Record, frozen=True):
    """A Llama-shaped decoder, or an encoder or encoder-decoder of the same measures."""

    hidden_size: Annotated[int, Meta(ge=8, description="width of the residual stream")] = 128
    num_layers: Annotated[int, Meta(ge=1, description="layers")] = 4
    num_heads: Annotated[int, Meta(ge=1, description="attention heads; hidden_size must be a multiple")] = 4
    num_kv_heads: Annotated[int, Meta(ge=0, description="key-value heads; 0: as many as heads")] = 0
    mlp_size: Annotated[
        int, Meta(ge=0, description="width of the MLP; 0: 8/3 of hidden_size, rounded up to 32 (an encoder: 4 times)")
    ] = 0
    context: Annotated[int, Meta(ge=8, description="longest text the model can read, tokens")] = 256

    def decoder(self, tokenizer: Tokenizer) -> DecoderConfig:
        """The decoder's own config. Raises ConfigError if the shape does not add up."""
        self._check_heads()
        return DecoderConfig(
            vocab_size=-(-tokenizer.vocab_size // 32) * 32,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads or self.num_heads,
            head_dim=self.hidden_size // self.num_heads,
            mlp_size=self.mlp_size or -(-self.hidden_size * 8 // 3 // 32) * 32,
            context=self.context,
            bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id,
            pad_id=tokenizer.pad_id,
        )

    def auto(self, tokenizer: Tokenizer, *, encoder: bool) -> AutoShape:
        """The shape of an encoder, else of an encoder-decoder. Raises ConfigError if it does not add up."""
        self._check_heads()
        if self.num_kv_heads not in (0, self.num_heads):
            raise ConfigError(
                "only a decoder shares keys and values between heads", where="shape.num_kv_heads", mend="leave it out"
            )
        gated = -(-self.hidden_size * 8 // 3 // 32) * 32
        return AutoShape(
            vocab_size=-(-tokenizer.vocab_size // 32) * 32,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            mlp_size=self.mlp_size or (4 * self.hidden_size if encoder else gated),
            context=self.context,
            bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id,
            pad_id=tokenizer.pad_id,
            start_id=tokenizer.decoder_start,
        )

    def _check_heads(self) -> None:
        if self.hidden_size % self.num_heads or (self.hidden_size // self.num_heads) % 2:
            raise ConfigError(
                f"{self.hidden_size} does not divide into {self.num_heads} heads of even size",
                where="shape.num_heads",
                mend="choose a divisor of shape.hidden_size",
            )


@dataclass
class Policy:
    """A model with its tokenizer, where both came from, and how it generates where no engine of its own is made."""

    model: Any
    tokenizer: Tokenizer
    folder: Path
    hash: str
    decode: Decode = "auto"
    base: Path | None = None  # what an adapter that is gone on with lies on

    @property
    def identity(self) -> dict[str, str]:
        """What data.json says of it, and what may not change before a resume; the tokenizer's covers its chat template."""
        return {"model": self.hash, "tokenizer": self.tokenizer.turns_fingerprint}


@dataclass(frozen=True)
class Compute:
    """Where and how a stage computes."""

    device: str
    paths: Paths

    @property
    def precision(self) -> torch.dtype:
        """Of matrix products; weights stay float32."""
        return self.paths.dtype

    @property
    def half(self) -> torch.dtype | None:
        """What engines and rewards take: the precision, None where it is float32."""
        return None if self.precision == torch.float32 else self.precision


ON_CPU = Compute("cpu", PLAIN)


def for_generation() -> Compute:
    """Where a model generates that no run trains: on CUDA as training does there, else as its weights are."""
    return Compute("cuda", choose("cuda").paths) if torch.cuda.is_available() else ON_CPU


def set_up(config: TrainConfig, began_with: Paths | None = None) -> Compute:
    """Seed everything; choose the device and the compute paths, and put them in force in this process.

    The process keeps few of oneDNN's kernels and, unless the paths are the plain ones, the memory that it frees (train/memory.py).
    began_with: the paths of a run that goes on; else the fastest on this machine, or the plain ones (train.paths).
    """
    bound_kernels()
    torch.manual_seed(config.seed)
    random.seed(config.seed)
    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    found = began_with or (PLAIN if config.paths == "plain" else choose(device).paths)
    if not began_with and config.precision != "auto":
        found = found.replace(training=config.precision)
    found.apply()
    if config.paths != "plain":
        keep_freed_memory()
    return Compute(device, found)


def open_policy(
    reference: str,
    workspace: WorkspaceFolder,
    compute: Compute = ON_CPU,
    *,
    trust_code: bool = False,
    decode: Decode = "auto",
    algorithm: Algorithm | None = None,
) -> Policy:
    """The model and tokenizer of a folder, checked to fit each other and the algorithm that is to train them."""
    folder = resolve_model(reference, workspace)
    model = load_model(folder, device=compute.device, attention=compute.paths.attention, trust_code=trust_code)
    compute.paths.use_in(model)
    tokenizer = Tokenizer.load(folder)
    require_fit(model, tokenizer, folder)
    if algorithm:
        require_family(model, algorithm, folder)
    return Policy(model, tokenizer, folder, model_hash(folder), decode)


def new_policy(
    shape: DecoderShape, tokenizer: Tokenizer, compute: Compute, *, seed: int, kind: str = "decoder"
) -> Policy:
    """A model that has learned nothing yet. kind: decoder, encoder or seq2seq."""
    model: Any
    if kind == "decoder":
        model = new_model(shape.decoder(tokenizer), seed=seed)
    elif kind == "encoder":
        model = new_encoder(shape.auto(tokenizer, encoder=True), seed)
    else:
        model = new_encoder_decoder(shape.auto(tokenizer, encoder=False), seed)
    model = model.to(compute.device)
    compute.paths.use_in(model)
    return Policy(model, tokenizer, NEW_MODEL, f"new {tokenizer.fingerprint}")


def require_fit(model: Any, tokenizer: Tokenizer, folder: Path) -> None:
    """Raise ModelError if the tokenizer knows tokens that the model does not."""
    if tokenizer.vocab_size > model.vocab_size:
        raise ModelError(
            f"the tokenizer has {tokenizer.vocab_size} tokens and the model only {model.vocab_size}",
            where=str(folder),
            mend="use the tokenizer that the model was trained with",
        )


FAMILIES = {
    "mlm": ("encoder",),
    "seq2seq": ("seq2seq",),
    **dict.fromkeys(("lm", "lm+value", "value", "scalar"), ("decoder", "seq2seq")),
    **dict.fromkeys(("classes", "number", "token_classes"), ("decoder", "encoder", "seq2seq")),
}
"""The families of models that can have a role of each kind."""
FAMILY_NAMES = {
    "decoder": "a decoder, which writes text and fills no masks",
    "encoder": "an encoder, which fills masks and writes no text",
    "seq2seq": "an encoder-decoder",
}


def require_family(model: Any, algorithm: Algorithm, folder: Path) -> None:
    """Raise ModelError if the algorithm is for models of another family."""
    for kind in algorithm.trains.values():
        if model.kind not in FAMILIES[kind]:
            wanted = " or ".join(FAMILY_NAMES[f].partition(",")[0] for f in FAMILIES[kind])
            raise ModelError(
                f"the model is {FAMILY_NAMES[model.kind]}, and {algorithm.name} trains {wanted}",
                where=str(folder),
                mend=f"choose {wanted}, or another algorithm",
            )


def asked_with(model: Any, tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer to ask a model with: a decoder without a chat template gets a plain one. Raises ModelError for an encoder."""
    require_writer(model)
    plain = model.kind == "decoder" and tokenizer.chat_template is None
    return default_template_for(tokenizer) if plain else tokenizer


def make_algorithm(
    section: Mapping[str, Any],
    default: str,
    *,
    kinds: Sequence[str] = (),
    beside: Sequence[str] = (),
    role: str = "policy",
    given: Sequence[str] = (),
) -> Algorithm:
    """The algorithm of a recipe's section: its `name`, and its own settings checked against its Config.

    kinds: of records that the stage has for it; empty: any. beside: kinds that it may learn from as well as these. role:
    what the stage trains. given: roles beside those trained whose columns it can add.
    Raises ConfigError for an algorithm that another stage runs.
    """
    name = str(section.get("name", default))
    module = find(name)
    settings = {key: value for key, value in section.items() if key != "name"}
    own = parse(module.Config, settings, where=f"settings of {name}", prefix="algorithm.")
    _require_float32(own, name)
    algorithm = build(name, own)
    fed = set(algorithm.feeds.values())
    strange = bool(kinds) and (not fed & set(kinds) or fed - {*kinds, *beside})
    needed = {need.split(".")[0] for needs in algorithm.needs.values() for need in needs}
    missing = needed - {*algorithm.trains, *given}
    if strange or missing or role not in algorithm.trains:
        wants = f"{', '.join(algorithm.feeds.values())} to train a {' and a '.join(algorithm.trains)}"
        raise ConfigError(
            f"{name} is no algorithm for `amenable {default.partition('_')[0]}`: it takes {wants}"
            + (f", with columns of a {' and a '.join(sorted(missing))}" if missing else ""),
            where="algorithm.name",
            mend=f"leave it out (it is {default!r} then), or run the command that the algorithm belongs to",
        )
    return algorithm


def _require_float32(settings: Any, name: str) -> None:
    """Raise ConfigError for a setting that tensors cannot be clamped to or filled with."""
    largest = torch.finfo(torch.float32).max
    for setting, value in msgspec.structs.asdict(settings).items():
        if isinstance(value, float) and largest < abs(value) < math.inf:
            raise ConfigError(
                f"algorithm.{setting} is {value:g}, more than a number of 32 bits holds",
                where=f"settings of {name}",
                mend=f"give at most {largest:.2g}",
            )


def add_lora(policy: Policy, settings: LoraSettings, seed: int) -> str | None:
    """Attach an adapter if asked; returns a line that counts what is trained."""
    model: Any = policy.model
    if settings.continued:
        return _continue_lora(policy, settings)
    if not settings.rank:
        return None
    largest = max(min(p.shape) for p in model.parameters() if p.dim() == 2)
    if settings.rank > largest:
        what = f"lora.rank is {settings.rank}, and no matrix of the model has more than {largest}"
        raise ConfigError(what, where="lora.rank", mend=f"give at most {largest}, or 0 to train all weights")
    total = sum(p.numel() for p in model.parameters())
    config = adapters.LoraConfig(
        rank=settings.rank, alpha=settings.alpha, dropout=settings.dropout, targets=settings.targets, seed=seed
    )
    adapters.add_lora(model, config)
    return _lora_line(model, settings.rank, total)


def _continue_lora(policy: Policy, settings: LoraSettings) -> str:
    """Put the model back to its base, with its adapter on it. Raises ConfigError if it has none, or one of another rank."""
    places = (policy.folder, policy.folder / "adapter")
    own, base = next(((folder, base) for folder in places if (base := adapted(folder))), (None, None))
    if own is None or base is None:
        what = f"there is no adapter in {policy.folder} to go on with"
        raise ConfigError(
            what, where="lora.continued", mend="name a model that LoRA made, or set lora.rank for a new one"
        )
    rank: Any = read_json(own / adapters.CONFIG)["r"]
    if settings.rank not in (0, rank):
        what = f"lora.rank is {settings.rank}, and the adapter's is {rank}"
        raise ConfigError(what, where="lora.rank", mend="leave it out, or set lora.continued=false for a new adapter")
    model: Any = policy.model
    total = sum(p.numel() for p in model.parameters())
    model.load_state_dict(load_model(base).state_dict())
    adapters.load_adapter(model, own, dropout=settings.dropout)
    policy.base = base
    return _lora_line(model, rank, total)


def _lora_line(model: Any, rank: int, total: int) -> str:
    trained = sum(p.numel() for p in adapters.trained_parameters(model).values())
    return f"LoRA of rank {rank}: {trained:,} of {total:,} parameters are trained ({trained / total:.2%})"


def to_be_compiled(learner: Learner, steps: int) -> bool:
    """Whether a run's layers are compiled: train.compile says so, or its rule does. It depends on no clock.

    Raises ConfigError where train.compile is on and they cannot be.
    """
    config, models = learner.config, [actor.model for actor in learner.actors.values()]
    if config.compile == "off":
        return False
    reason = next((found for model in models if (found := why_not(model))), None)
    if config.compile == "on":
        if reason:
            raise ConfigError(f"layers cannot be compiled: {reason}", where="train.compile", mend="set it to 'auto'")
        return True
    rows = steps * config.inner_epochs * config.units_per_step
    work = sum(6 * sum(p.numel() for p in model.parameters()) * rows * model.context for model in models)
    gains = not any(
        isinstance(model, Decoder) and model.reads_compiled() for model in models
    )  # else little is left to gain
    return reason is None and config.paths != "plain" and gains and work >= WORK_TO_COMPILE


def to_be_checkpointed(learner: Learner, free_bytes: int | None) -> bool:
    """Whether a run's layers are computed again in the backward pass: train.checkpointing says so, or its rule does.

    Either way the gradients are the same. free_bytes: None where the system does not tell.
    """
    config = learner.config
    if config.checkpointing != "auto":
        return config.checkpointing
    models = [actor.model for actor in learner.actors.values() if isinstance(actor.model, Decoder)]
    kept = sum(kept_bytes(model, config.micro_tokens, learner.precision) for model in models)
    return free_bytes is not None and kept > free_bytes / 2


def make_actor(model: Any, kind: str, head: torch.nn.Module | None = None) -> Actor:
    """A model with the head of its role, on the model's device: a given one, or a fresh one that starts at zero."""
    if kind in ("lm", "mlm", "seq2seq"):
        return Actor(model, kind)
    fresh = ScalarHead(model.hidden_size) if kind == "scalar" else ValueHead(model.hidden_size)
    return Actor(model, kind, head if head is not None else fresh).to(next(model.parameters()).device)


def policy_learner(actor: Actor, train: TrainConfig, compute: Compute) -> Learner:
    """The learner of a run that trains one policy and needs no reference."""
    actors = {"policy": actor.to(compute.device)}
    return Learner(actors, train, precision=compute.precision, device=compute.device)


def freeze(actor: Actor) -> Actor:
    """No gradients, evaluation mode."""
    return actor.requires_grad_(False).eval()


def unembedding(model: Any) -> Unembedding:
    """The vocabulary head of a frozen reference."""
    bias = model.head_bias
    return Unembedding(model.head_weight.detach(), None if bias is None else bias.detach())


def validator(
    algorithm: Algorithm,
    learner: Learner,
    batches: Sequence[Batch],
    prepare: Callable[[Batch], Batch] = lambda b: b,
) -> Callable[[], dict[str, float]] | None:
    """Loss and metrics on held-out batches, without gradient, under names that begin with validation/."""
    if not batches:
        return None

    def measure() -> dict[str, float]:
        sums: dict[str, list[float]] = {}
        with torch.no_grad(), learner.evaluating():
            _, found, counts = accumulate(algorithm, learner, [prepare(b) for b in batches], algorithm.initial_state())
        for name, (total, count) in found.items():
            if name.startswith("loss/"):
                count = counts[name[5:]]
            sums[name] = [total, count]
        return {f"validation/{name}": total / count for name, (total, count) in sums.items() if count}

    return measure


def save_result(
    policy: Policy,
    model: Any,
    target: Path,
    metadata: Mapping[str, Any],
    *,
    learns_on: bool = False,
    **heads: Any,
) -> None:
    """Write a model with its tokenizer, adapters merged into the weights: into a copy's if the model learns on."""
    if "peft" in sys.modules and adapters.adapters_of(model):
        adapters.save_adapter(model, target / "adapter", base=str(policy.base or policy.folder))
        model = copy.deepcopy(model) if learns_on else model
        adapters.merge(model)
    if policy.folder != NEW_MODEL:
        keep_sampling(policy.folder, target)
    policy.tokenizer.save(target)  # first: config.json, which save_model writes last, makes the folder a model
    save_model(model, target, heads=heads or None, parent=str(policy.folder), metadata=dict(metadata))


def check_context(context: int, model: Any) -> int:
    """The context to train at: what is asked for, or the model's own."""
    if context > model.context:
        raise ConfigError(
            f"a context of {context} tokens is longer than the model's {model.context}",
            where="context",
            mend=f"set it to at most {model.context}, or 0 for the model's own",
        )
    return context or model.context
