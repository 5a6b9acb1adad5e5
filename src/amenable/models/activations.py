"""What a forward pass of a Decoder keeps for the backward pass, in bytes: by count, before anything is computed.

Of each token in each layer, with H, M the widths of stream and MLP, A heads of size D, K key-value heads, b bytes of a matrix
product's dtype and S keys that it looks at: the stream twice and what norms and rotations make of it, (8 + 4 b) H; queries,
keys and values as computed, rotated and laid side by side, 3 b D (A + 2 K); the gate's and the up-projection's results, the
activation and their product, 4 b M; and, where attention is written out as matrix products, its weights, b A S; within documents of at most KEPT tokens about
half of that, and of longer ones none. Compiled
operations (native/) keep less: the stream twice and two norms, (8 + 2 b) H; queries, keys, values and what was gathered,
b D (2 A + 2 K), with a sum for each head, 4 A; the gate's and the up-projection's results and their product, 3 b M; and, once,
8 H for the last norm.
"""

from __future__ import annotations

import torch

from amenable.models.decoder import Decoder
from amenable.models.documents import BLOCK, KEPT


def kept_bytes(model: Decoder, tokens: int, dtype: torch.dtype) -> int:
    """Of `tokens` in rows as long as the context allows; dtype: of the matrix products."""
    c, size = model.config, dtype.itemsize
    if model.reads_compiled():
        of_attention = size * c.head_dim * 2 * (c.num_heads + c.num_kv_heads) + 4 * c.num_heads
        per_layer = (8 + 2 * size) * c.hidden_size + of_attention + 3 * size * c.mlp_size
        return tokens * (per_layer * c.num_layers + 8 * c.hidden_size)
    per_token = (8 + 4 * size) * c.hidden_size + 3 * size * c.head_dim * (c.num_heads + 2 * c.num_kv_heads)
    per_token += 4 * size * c.mlp_size
    keys = min(c.context, tokens)
    on_cpu = model.model.embed_tokens.weight.device.type == "cpu"
    if model.joins():
        keys = min(keys, KEPT)
        per_token += size * c.num_heads * min(keys, (keys + BLOCK) // 2)
    elif model.attention == "math" or (on_cpu and model.attention == "auto"):
        per_token += size * c.num_heads * keys
    elif on_cpu and isinstance(model.attention, int):
        per_token += size * c.num_heads * min(keys, model.attention)
    return tokens * per_token * c.num_layers
