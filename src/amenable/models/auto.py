"""Any other architecture, through transformers' Auto classes, behind the Decoder's interface.

Departures from the Decoder: one segment a packed row (packs is False), no cache (rollout/ then reads the whole text again
for every token: right, and slow; told to the user there), no dropout. The trunk gives the hidden states; the logits
are what the model's own forward makes of them, run with the trunk replaced by those states, so that scaling,
soft-capping and head biases of any architecture are exact without a list of them. Loading compares the two once, and
refuses what would be learned wrongly: a decoder that sees the tokens to come, a model that padding changes.

kind "decoder"  position t's hidden state predicts token t + 1.
kind "seq2seq"  the same for the decoder's tokens; a row begins with the decoder's start token (`start_id`) at t = 0.
kind "encoder"  a masked-language model: position t sees the whole row and predicts token t itself; good for heads.

Shape letters: P packed rows, L packed length, S source tokens, H hidden, V vocabulary, N tokens.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.utils.generic import ModelOutput

from amenable.batch import Inputs
from amenable.errors import ModelError
from amenable.models import attention as attention_paths
from amenable.models.weights import read_json, weight_files

Kind = Literal["decoder", "seq2seq", "encoder"]
UNLIMITED = 2**30
UNUSED = re.compile(
    r"(^|\.)(pooler|seq_relationship|sop_classifier|discriminator_predictions)\.|\.attn\.attention\.(masked_)?bias$"
)
"""Heads for what no model here does, and buffers that follow from the config: public checkpoints carry them."""


class AutoModel(nn.Module):
    """A transformers model behind our interface; `inner` is the model itself."""

    packs = False

    def __init__(self, inner: Any, kind: Kind) -> None:
        super().__init__()
        self.inner = inner
        self.kind = kind
        self._trunk_name = self._find_trunk()
        self.linear_head = self._is_linear()

    def hidden(self, inputs: Inputs, cache: None = None, slots_P: None = None) -> Tensor:
        """Final hidden states (P, L, H), before the head. One segment a row; padding (segment -1) on the right."""
        if cache is not None:
            raise ModelError(f"{type(self.inner).__name__} has no cache here", mend="generate without a cache")
        assert int(inputs.segments_PL.max()) <= 0, "this model reads one segment a row"
        valid_PL = (inputs.segments_PL >= 0).long()
        if self.kind == "seq2seq":
            assert inputs.source_PS is not None and inputs.source_valid_PS is not None
            source_valid_PS = inputs.source_valid_PS.long()
            source = self.inner.get_encoder()(input_ids=inputs.source_PS, attention_mask=source_valid_PS)[0]
            return self.inner.get_decoder()(
                input_ids=inputs.tokens_PL,
                attention_mask=valid_PL,
                encoder_hidden_states=source,
                encoder_attention_mask=source_valid_PS,
                use_cache=False,
            )[0]
        if inputs.tokens_PL.shape[1] <= self._short_context:
            return self._read(inputs.tokens_PL, valid_PL)
        short_P = valid_PL.sum(1) <= self._short_context
        parts, places = [], []
        for rows_P in (short_P, ~short_P):
            if bool(rows_P.any()):
                width = int(valid_PL[rows_P].sum(1).max())
                part = self._read(inputs.tokens_PL[rows_P, :width], valid_PL[rows_P, :width])
                parts.append(nn.functional.pad(part, (0, 0, 0, inputs.tokens_PL.shape[1] - width)))
                places.append(rows_P.nonzero()[:, 0])
        return torch.cat(parts)[torch.cat(places).argsort()]

    def _read(self, tokens_PL: Tensor, valid_PL: Tensor) -> Tensor:
        return self._trunk(input_ids=tokens_PL, attention_mask=valid_PL, **self._without_cache)[0]

    @property
    def _short_context(self) -> int:
        """Where LongRoPE (Phi-3) takes other frequencies for all rows of a pass, by the longest: long rows go apart."""
        rope = getattr(self.inner.config.get_text_config(), "rope_parameters", None) or {}
        return rope["original_max_position_embeddings"] if rope.get("rope_type") == "longrope" else UNLIMITED

    def joins(self) -> bool:
        """Whether `hidden` reads documents end to end (batch.Inputs.groups): never here."""
        return False

    def logits(self, hidden_NH: Tensor) -> Tensor:
        """(..., H) to (..., V), with whatever the architecture does at its head."""
        rows_PLH = hidden_NH.reshape(1, -1, hidden_NH.shape[-1])
        tokens = torch.zeros(rows_PLH.shape[:2], dtype=torch.long, device=hidden_NH.device)
        given: dict[str, Any] = {"input_ids": tokens, **self._without_cache}
        if self.kind == "seq2seq":
            given = {"decoder_input_ids": tokens, "encoder_outputs": _Answer(last_hidden_state=rows_PLH)}
        with _answering(self._trunk, rows_PLH):
            logits = self.inner(**given).logits
        return logits.reshape(*hidden_NH.shape[:-1], logits.shape[-1])

    @property
    def _trunk(self) -> Any:
        """What the head's input comes from."""
        return self.inner.get_submodule(self._trunk_name)

    @property
    def _without_cache(self) -> dict[str, Any]:
        return {"use_cache": False} if self.kind == "decoder" else {}

    @torch.no_grad()
    def _find_trunk(self) -> str:
        """The base model's name, or that of the part of it that the whole model asks past it (OPT's and T5's decoder)."""
        names = {id(module): name for name, module in self.inner.named_modules() if name}
        base = self.inner.base_model
        decoder = None if self.kind == "encoder" else self.inner.get_decoder()
        found = [names[id(part)] for part in (base, decoder) if id(part) in names]
        if not found:
            raise ModelError(f"{type(self.inner).__name__} cannot be divided into trunk and head")
        if self.kind != "decoder":
            return found[0]
        token = torch.ones(1, 1, dtype=torch.long, device=self.head_weight.device)
        asked: list[str] = []
        hooks = [
            self.inner.get_submodule(name).register_forward_hook(lambda *_, name=name: asked.append(name))
            for name in found
        ]
        self.inner(input_ids=token, **self._without_cache)
        for hook in hooks:
            hook.remove()
        return next((name for name in found if name in asked), found[0])

    @property
    def head_weight(self) -> Tensor:
        """(V, H). Only where `linear_head` is True are the logits hidden @ head_weightᵀ + head_bias; else ask `logits`."""
        return self.inner.get_output_embeddings().weight

    @property
    def head_bias(self) -> Tensor | None:
        return getattr(self.inner.get_output_embeddings(), "bias", None)

    @property
    def context(self) -> int:
        """Positions at most; UNLIMITED where positions are relative (T5)."""
        config = self.inner.config
        if config.model_type == "led":  # source and target have each their own
            return min(config.max_encoder_position_embeddings, config.max_decoder_position_embeddings)
        text = config.get_text_config(decoder=True)
        for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
            if isinstance(found := getattr(text, name, None), int) and config.model_type != "t5":
                return found - self._positions_unused
        return UNLIMITED

    @property
    def _positions_unused(self) -> int:
        """Positions in front of a text's first: RoBERTa and its kin count from the padding's id on."""
        table = getattr(getattr(self.inner.base_model, "embeddings", None), "position_embeddings", None)
        padding = getattr(table, "padding_idx", None)
        return 0 if padding is None else padding + 1

    @property
    def hidden_size(self) -> int:
        """H. An encoder's may differ from the width of its head (ALBERT, ELECTRA); what OPT projects is the head's."""
        return self.inner.config.hidden_size if self.kind == "encoder" else self.head_weight.shape[1]

    @property
    def vocab_size(self) -> int:
        return self.head_weight.shape[0]

    @property
    def start_id(self) -> int | None:
        """The token that a seq2seq row begins with."""
        return self.inner.config.decoder_start_token_id if self.kind == "seq2seq" else None

    @property
    def checkpointing(self) -> bool:
        return bool(self.inner.is_gradient_checkpointing)

    @checkpointing.setter
    def checkpointing(self, on: bool) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # later versions of transformers have another name for it
            if not on:
                self.inner.gradient_checkpointing_disable()
                return
            try:
                self.inner.gradient_checkpointing_enable({"use_reentrant": False})
            except ValueError as error:
                raise ModelError(f"{type(self.inner).__name__} cannot recompute activations") from error

    def num_parameters(self) -> int:
        """Parameters in all, shared ones counted once."""
        return sum(p.numel() for p in self.parameters())

    def save_weights(self, folder: Path) -> dict[str, Any]:
        """Write the weights; return config.json for the caller to write last."""
        self.inner.save_pretrained(folder, safe_serialization=True, max_shard_size="1000GB")
        raw = dict(read_json(folder / "config.json"))
        (folder / "config.json").unlink()
        return raw

    @torch.no_grad()
    def _is_linear(self) -> bool:
        """Whether the logits are a plain product; measured on random states, not looked up."""
        weight = self.head_weight
        if self.kind == "encoder":
            return False
        hidden_NH = torch.randn(3, weight.shape[1], generator=torch.Generator().manual_seed(0))
        hidden_NH = hidden_NH.to(weight.device, weight.dtype) * 10
        plain = nn.functional.linear(hidden_NH, weight, self.head_bias)
        return torch.allclose(self.logits(hidden_NH), plain, rtol=1e-5, atol=1e-5)


def load_auto(
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    attention: attention_paths.Path = "auto",
    trust_code: bool = False,
) -> AutoModel:
    """A folder's model through transformers, with safetensors only and its own code only if trusted.

    Raises ModelError: no safetensors, unknown architecture, own code untrusted, tensors missing or unexpected, or whatever
    transformers objects to.
    """
    from transformers import AutoConfig

    weight_files(folder)
    raw = read_json(folder / "config.json")
    _check_code(raw, folder, trust_code)
    with _objecting("transformers cannot read config.json", folder):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_code, local_files_only=True)
    kind = _kind(config, raw)
    _steady(config)
    settings = {"attn_implementation": "eager"} if attention == "math" else {}
    _check_class(config, raw, kind, folder)
    with _objecting("transformers cannot load this model", folder):
        inner, info = _auto_class(kind).from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=trust_code,
            output_loading_info=True,
            **settings,
        )
    _check_fit(info, folder)
    inner = inner.to(device).eval()
    with _objecting(
        f"{type(inner).__name__} cannot be read in parts", folder, mend="take a model of another architecture"
    ):
        model = AutoModel(inner, kind)
        _check_reading(model, folder)
    return model.eval()


@contextmanager
def _objecting(
    what: str,
    folder: Path,
    mend: str = "mend config.json, or install the package or the version of transformers that this asks for",
) -> Iterator[None]:
    """Within the block whatever transformers raises becomes a ModelError."""
    try:
        yield
    except (MemoryError, ModelError):
        raise
    except Exception as error:  # of all kinds: KeyError, ImportError, huggingface_hub's own
        raise ModelError(f"{what}: {type(error).__name__}: {error}", where=str(folder), mend=mend) from error


def _check_code(raw: dict[str, Any], folder: Path, trust_code: bool) -> None:
    from transformers import CONFIG_MAPPING

    if raw.get("auto_map") and raw.get("model_type") not in CONFIG_MAPPING and not trust_code:
        raise ModelError(
            "this model brings code of its own, which was not run",
            where=str(folder),
            mend="read that code, then load with trust_code=True",
        )


def _kind(config: Any, raw: dict[str, Any]) -> Kind:
    if config.is_encoder_decoder:
        return "seq2seq"
    named = [str(name) for name in raw.get("architectures") or []]
    return "encoder" if any(n.endswith(("MaskedLM", "ForPreTraining")) for n in named) else "decoder"


def _check_class(config: Any, raw: dict[str, Any], kind: Kind, folder: Path) -> None:
    """Raise ModelError for an architecture that transformers' class of the kind does not have, without a list of all that it has."""
    import transformers

    known: Any = {
        "decoder": transformers.MODEL_FOR_CAUSAL_LM_MAPPING,
        "seq2seq": transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
        "encoder": transformers.MODEL_FOR_MASKED_LM_MAPPING,
    }[kind]
    if type(config) not in known and not raw.get("auto_map"):
        name = next(iter(raw.get("architectures") or []), config.model_type)
        raise ModelError(
            f"{name} is none of transformers' {_auto_class(kind).__name__}",
            where=str(folder),
            mend="an encoder must be saved with the head that fills masks (transformers' AutoModelForMaskedLM); a model "
            "that reads pictures or sound beside text cannot be used",
        )


def _auto_class(kind: Kind) -> Any:
    import transformers

    return {
        "decoder": transformers.AutoModelForCausalLM,
        "seq2seq": transformers.AutoModelForSeq2SeqLM,
        "encoder": transformers.AutoModelForMaskedLM,
    }[kind]


def _steady(config: Any) -> None:
    """Make two passes over one text give the same: no dropout, no noise on routers, no weights rescaled between passes.

    PhiMoE's router noise stays: it is a threshold of its routing too.
    """
    for name, value in list(vars(config).items()):
        if isinstance(value, PreTrainedConfig):
            _steady(value)
        dropout = isinstance(value, float) and any(word in name for word in ("dropout", "pdrop", "layerdrop"))
        if dropout or (name == "router_jitter_noise" and config.model_type != "phimoe"):
            setattr(config, name, 0.0)
    if config.model_type == "rwkv":
        config.rescale_every = 0  # else it divides weights in evaluation, and they would be saved so


def _check_fit(info: Mapping[str, Any], folder: Path) -> None:
    """Every tensor that the model has must be there, and none beside it but those that are UNUSED."""
    faults = {what: sorted(map(str, names)) for what, names in info.items() if names and what.endswith("_keys")}
    unexpected = faults.pop("unexpected_keys", [])
    if "missing_keys" in faults and any("discriminator_predictions." in name for name in unexpected):
        raise ModelError(
            "these weights are a discriminator: it tells replaced words from true ones, and cannot name any",
            where=str(folder),
            mend="take the generator that was trained beside it, or another encoder",
        )
    if unexpected := [name for name in unexpected if not UNUSED.search(name)]:
        faults["unexpected_keys"] = unexpected
    if faults:
        raise ModelError(
            f"the weights do not fit config.json: {faults}",
            where=str(folder),
            mend="both must come from one model, saved with the head that predicts words (transformers' "
            "AutoModelForCausalLM, AutoModelForMaskedLM or AutoModelForSeq2SeqLM)",
        )


@torch.no_grad()
def _check_reading(model: AutoModel, folder: Path) -> None:
    """Trunk and head must give what the whole model gives, padding must change nothing, and a decoder must look back only."""
    name = type(model.inner).__name__
    tokens = torch.arange(1, 5, device=model.head_weight.device)[None] % model.vocab_size
    given = {"input_ids": tokens, **({"decoder_input_ids": tokens} if model.kind == "seq2seq" else {})}
    whole = model.inner(**given).logits.float()
    tolerance = (1e-3 if model.head_weight.dtype == torch.float32 else 5e-2) * float(whole.std())

    def same(row: Tensor, length: int, padding: int = 0) -> bool:
        """Whether the first `length` logits of a row, read in two parts and with padding, are the whole model's."""
        logits = model.logits(model.hidden(_row_of(row, padding, model.kind))).float()
        if logits.shape[-1] != whole.shape[-1]:
            return False
        return torch.allclose(whole[:, :length], logits[:, :length], atol=tolerance, rtol=0)

    if not same(tokens, 4):
        raise ModelError(f"{name} cannot be divided into trunk and head", where=str(folder))
    if model.kind == "decoder" and not same(torch.cat((tokens[:, :3], tokens[:, :1]), 1), 3):
        raise ModelError(
            f"{name} sees the tokens that are to come, so as a decoder it would learn to copy them",
            where=str(folder),
            mend="take a model that writes from left to right; if this one does, config.json must say so (is_decoder)",
        )
    if not same(tokens, 4, padding=max(min(4, model.context - 4), 0)):
        raise ModelError(
            f"what {name} makes of a row changes with the padding behind it, so results would depend on the batch",
            where=str(folder),
            mend="take a model whose attention leaves padding out (BERT, RoBERTa, DeBERTa and their like)",
        )


def _row_of(tokens_PL: Tensor, padding: int, kind: Kind) -> Inputs:
    """A row as `hidden` takes it, as its own source where there is one, with so much padding behind it."""
    segments_PL = nn.functional.pad(torch.zeros_like(tokens_PL), (0, padding), value=-1)
    tokens_PL = nn.functional.pad(tokens_PL, (0, padding))
    positions_PL = torch.arange(tokens_PL.shape[1], device=tokens_PL.device).expand_as(tokens_PL)
    if kind == "seq2seq":
        return Inputs(tokens_PL, positions_PL, segments_PL, tokens_PL, segments_PL == 0)
    return Inputs(tokens_PL, positions_PL, segments_PL)


@dataclass
class _Answer(ModelOutput):
    """A trunk's output: the hidden states; every other field that a head may pass on is None."""

    last_hidden_state: Tensor | None = None

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


@contextmanager
def _answering(trunk: Any, hidden_PLH: Tensor) -> Iterator[None]:
    """Within the block the trunk returns these hidden states, whatever it is asked."""
    answer = _Answer(last_hidden_state=hidden_PLH)
    trunk.forward = lambda *_, **__: answer
    try:
        yield
    finally:
        del trunk.forward
