"""A world small enough to know every answer: three prompts, forty responses, a reward for each, all in float64.

Four tokens (the end and three letters), at most three of them a response, so every response can be listed and the
distribution of any policy is exact. The policy is a table: four logits per prefix. Nothing else is special: it is
trained by the real loop, learner and algorithm files, from responses drawn from its own exact distribution or from
pairs judged by an exact Bradley-Terry judge. Where it ends is then compared with what the theory says, in closed form.

Shape letters: Q prompts, K responses of a prompt, R = Q x K rows, B rows of a batch, T tokens, N prefixes, V vocabulary.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from amenable.batch import Batch, Inputs
from amenable.models.forward import Actor
from amenable.objectives.best_of_n import best_of_n_distribution
from amenable.train import contract
from amenable.train.learner import Learner
from amenable.train.loop import Progress, train
from amenable.train.settings import OptimizerConfig, TrainConfig

END, LETTERS, MAX_TOKENS = 0, (1, 2, 3), 3
VOCABULARY = 1 + len(LETTERS)
NUM_PROMPTS = 3  # a prompt is one token, VOCABULARY + its number
BETA = 0.5  # nats of KL that one point of reward is worth
GOLDEN = (5**0.5 - 1) / 2
TAU = 0.2  # IPO's leash: its rewards are probabilities, from 0 to 1


def responses() -> list[tuple[int, ...]]:
    """All responses: up to two letters and the end, or three letters.

    >>> len(responses())
    40
    """
    ended = [(*letters, END) for n in range(MAX_TOKENS) for letters in itertools.product(LETTERS, repeat=n)]
    return ended + list(itertools.product(LETTERS, repeat=MAX_TOKENS))


PREFIXES = [letters for n in range(MAX_TOKENS) for letters in itertools.product(LETTERS, repeat=n)]
NUM_RESPONSES = len(responses())


class Table(nn.Module):
    """A language model that is a table: VOCABULARY numbers for each prompt and prefix, which are the logits."""

    packs, kind, context, vocab_size, hidden_size = True, "decoder", 1 + MAX_TOKENS, VOCABULARY, VOCABULARY
    linear_head, checkpointing, head_bias = True, False, None

    def __init__(self, logits_NV: Tensor) -> None:
        super().__init__()
        self.logits_NV = nn.Parameter(logits_NV.clone())
        self.head_weight: Tensor
        self.register_buffer("head_weight", torch.eye(VOCABULARY, dtype=logits_NV.dtype))

    def joins(self) -> bool:
        return False

    def hidden(self, inputs: Inputs) -> Tensor:
        """The table's row of each token's prefix. After the end, and after three letters, nothing is ever read."""
        start_PL = torch.arange(inputs.tokens_PL.shape[1])[None] - inputs.positions_PL
        prefix_PL = torch.zeros_like(inputs.tokens_PL)
        for place in range(1, MAX_TOKENS):
            letter_PL = inputs.tokens_PL.gather(1, (start_PL + place).clamp(max=inputs.tokens_PL.shape[1] - 1))
            deeper_PL = prefix_PL * len(LETTERS) + letter_PL  # prefixes are numbered as a tree, breadth first
            prefix_PL = torch.where(inputs.positions_PL >= place, deeper_PL, prefix_PL)
        prompt_PL = inputs.tokens_PL.gather(1, start_PL) - VOCABULARY
        spot_PL = prompt_PL * len(PREFIXES) + prefix_PL
        return self.logits_NV[spot_PL.clamp(0, len(self.logits_NV) - 1)]

    def logits(self, hidden_NV: Tensor) -> Tensor:
        return hidden_NV


class FirstNumber(nn.Module):
    """The critic's head: its table holds the value in the first column."""

    def forward(self, hidden_NV: Tensor) -> Tensor:
        return hidden_NV[..., 0]


@dataclass(frozen=True)
class World:
    """Everything that is fixed: the reference's table, a reward for each response, and all rows as tensors."""

    reference_NV: Tensor
    rewards_QK: Tensor
    tokens_RT: Tensor
    valid_RT: Tensor
    trained_RT: Tensor
    prefix_RT: Tensor  # which prefix each own token was drawn after

    @classmethod
    def make(cls, seed: int = 0) -> World:
        """Rewards spread by 0.3, 0.6 and 0.9 on the three prompts, so that dividing by the spread matters."""
        generator = torch.Generator().manual_seed(seed)
        shape = (NUM_PROMPTS * len(PREFIXES), VOCABULARY)
        reference_NV = 0.7 * torch.randn(shape, generator=generator, dtype=torch.float64)
        rewards_QK = torch.randn(NUM_PROMPTS, NUM_RESPONSES, generator=generator, dtype=torch.float64)
        rewards_QK = rewards_QK * torch.tensor([[0.3], [0.6], [0.9]])
        rows = [(q, y) for q in range(NUM_PROMPTS) for y in responses()]
        tokens_RT = torch.zeros(len(rows), 1 + MAX_TOKENS, dtype=torch.long)
        prefix_RT, trained_RT = torch.zeros_like(tokens_RT), torch.zeros_like(tokens_RT, dtype=torch.bool)
        for r, (q, y) in enumerate(rows):
            tokens_RT[r, : 1 + len(y)] = torch.tensor([VOCABULARY + q, *y])
            trained_RT[r, 1 : 1 + len(y)] = True
            for t in range(len(y)):
                prefix_RT[r, 1 + t] = q * len(PREFIXES) + PREFIXES.index(y[:t])
        valid_RT = trained_RT.clone()
        valid_RT[:, 0] = True
        return cls(reference_NV, rewards_QK, tokens_RT, valid_RT, trained_RT, prefix_RT)

    def distribution(self, logits_NV: Tensor) -> Tensor:
        """probs_QK of every response under a table, exact."""
        logprobs_RT = logits_NV.detach().log_softmax(-1)[self.prefix_RT, self.tokens_RT.clamp(max=VOCABULARY - 1)]
        return (logprobs_RT * self.trained_RT).sum(1).exp().view(NUM_PROMPTS, NUM_RESPONSES)

    @property
    def reference_QK(self) -> Tensor:
        return self.distribution(self.reference_NV)

    @property
    def win_QKK(self) -> Tensor:
        """Probability that the first response is preferred to the second: Bradley-Terry, and 1/2 against itself."""
        return torch.sigmoid(self.rewards_QK[:, :, None] - self.rewards_QK[:, None, :])

    def kl_optimum(self, beta: float = BETA) -> Tensor:
        """reference * exp(reward / beta), normalised: what maximises E[reward] - beta * KL(policy || reference)."""
        return (self.reference_QK.log() + self.rewards_QK / beta).softmax(-1)

    def ipo_optimum(self, tau: float = TAU) -> Tensor:
        """reference * exp(p(preferred to a response of the reference) / tau), normalised (Azar et al. 2023, eq. 7)."""
        preferred_QK = (self.win_QKK * self.reference_QK[:, None, :]).sum(-1)
        return (self.reference_QK.log() + preferred_QK / tau).softmax(-1)

    def best_of_n(self, n: int) -> Tensor:
        """What best-of-n of the reference draws."""
        pairs = zip(self.reference_QK, self.rewards_QK, strict=True)
        return torch.stack([best_of_n_distribution(probs_K, rewards_K, n) for probs_K, rewards_K in pairs])

    def rows(self, rows_B: Tensor, unit_B: Tensor, stream: str, columns: Mapping[str, Tensor]) -> Batch:
        """These rows (prompt * NUM_RESPONSES + response) as a Batch."""
        return Batch(
            tokens_BT=self.tokens_RT[rows_B],
            valid_BT=self.valid_RT[rows_B],
            trained_BT=self.trained_RT[rows_B],
            unit_B=unit_B,
            columns={"row": rows_B, **columns},
            stream=stream,
        )


def total_variation(p_QK: Tensor, q_QK: Tensor) -> float:
    """Half the sum of differences: the largest difference in the probability of any event; of the worst prompt.

    >>> total_variation(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.75, 0.25]]))
    0.25
    """
    return float((p_QK - q_QK).abs().sum(-1).max() / 2)


@dataclass
class Drawn:
    """An online source: per_step responses to each prompt, from the exact distribution of the policy or the reference.

    drop_end: a mask slip, for the test that it shows: the end token of every response is not trained.
    """

    world: World
    policy: Table
    by_group: bool
    group: int
    per_step: int
    generator: torch.Generator
    drop_end: bool = False

    def next(self, step: int) -> tuple[dict[str, Batch], dict[str, float]]:
        probs_QK = self.world.distribution(self.policy.logits_NV)
        drawn_QB = torch.multinomial(probs_QK, self.per_step, replacement=True, generator=self.generator)
        rows_B = (drawn_QB + torch.arange(NUM_PROMPTS)[:, None] * NUM_RESPONSES).flatten()
        unit_B = torch.arange(len(rows_B)) // (self.group if self.by_group else 1)
        columns = {"finished": torch.ones(len(rows_B), dtype=torch.float64)}
        batch = self.world.rows(rows_B, unit_B, "rollouts", columns)
        if self.drop_end:
            batch = replace(batch, trained_BT=batch.trained_BT & (batch.tokens_BT != END))
        return {"rollouts": batch}, {}

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        raise NotImplementedError("a small world is never resumed")


@dataclass
class Judged(Drawn):
    """An offline source: per_step pairs of the reference's responses, each won with its Bradley-Terry probability.

    Pairs are dealt, not drawn: at each step a (winner, loser) appears as often as expected, rounded up or down, and the
    rounding goes round with the golden ratio, so that over a few steps every pair has its exact share.
    """

    def next(self, step: int) -> tuple[dict[str, Batch], dict[str, float]]:
        first_K, second_K = torch.triu_indices(NUM_RESPONSES, NUM_RESPONSES, offset=1)
        reference_QK, win_QKK = self.world.reference_QK, self.world.win_QKK
        weight_QP = reference_QK[:, first_K] * reference_QK[:, second_K]
        win_QP = win_QKK[:, first_K, second_K]
        weight_D = torch.stack([weight_QP * win_QP, weight_QP * (1 - win_QP)], -1).flatten()
        ends_D = weight_D.cumsum(0) / weight_D.sum() * self.per_step
        upto_D = torch.floor(ends_D + step * GOLDEN % 1)
        times_D = torch.diff(upto_D, prepend=upto_D.new_zeros(1)).long()
        offset_Q1 = torch.arange(NUM_PROMPTS)[:, None] * NUM_RESPONSES
        pairs_D2 = torch.stack([offset_Q1 + first_K, offset_Q1 + second_K], -1)[:, :, None].expand(-1, -1, 2, -1)
        pairs_D2 = torch.stack([pairs_D2[:, :, 0], pairs_D2[:, :, 1].flip(-1)], 2).reshape(-1, 2)
        rows_B = pairs_D2.repeat_interleave(times_D, 0).flatten()
        unit_B = torch.arange(len(rows_B)) // 2
        chosen_B = torch.tensor([1.0, 0.0], dtype=torch.float64).repeat(len(rows_B) // 2)
        return {"comparisons": self.world.rows(rows_B, unit_B, "comparisons", {"chosen": chosen_B})}, {}


@dataclass
class Rewards:
    """The known reward, as a scorer of the loop."""

    world: World

    def columns(self, batch: Batch, what: tuple[str, ...]) -> dict[str, Tensor]:
        return {"reward.scores": self.world.rewards_QK.flatten()[batch["row"]]}


@dataclass
class Frozen:
    """The reference, as a scorer of the loop."""

    learner: Learner
    actor: Actor

    def columns(self, batch: Batch, what: tuple[str, ...]) -> dict[str, Tensor]:
        found = self.learner.evaluate("policy", batch, what, actor=self.actor)
        assert found.logprobs_BT is not None
        return {"reference.logprobs": found.logprobs_BT}


@dataclass(frozen=True)
class Road:
    """One way to learn in the small world: an algorithm's name and settings, and where it should arrive."""

    name: str
    algorithm: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    optimum: Literal["kl", "ipo", "best-of-4"] = "kl"
    steps: int = 200
    learning_rate: float = 0.1  # falls linearly to 0
    per_step: int = 256  # responses to each prompt, or pairs of all prompts
    group: int = 8  # responses that are judged against each other
    draw_from: Literal["policy", "reference"] = "policy"
    minibatches: int = 1
    inner_epochs: int = 1
    drop_end: bool = False


_KL = {"kl_coef": BETA, "truncated": "score"}
_SUMS = {"normalise": False, "aggregate": "constant", "constant_tokens": MAX_TOKENS}
_CRITIC = {"value_clip": None, "value_weight": 1.0}
ROADS = (
    Road("PPO", "ppo", {**_KL, **_CRITIC}),
    Road("PPO, 4 updates a batch", "ppo", {**_KL, **_CRITIC}, steps=100, minibatches=2, inner_epochs=2),
    Road("RLOO", "rloo", _KL),
    Road("REINFORCE", "reinforce", _KL, steps=300, per_step=512, learning_rate=0.05),
    Road("GRPO, no deviation, KL in the reward", "grpo", {**_KL, "normalise": False, "kl_in": "reward"}),
    Road("GRPO, deviation, KL in the reward", "grpo", {**_KL, "kl_in": "reward"}),
    Road("online DPO, soft labels", "online_dpo", {"beta": BETA, "labels": "soft", "truncated": "score"}, group=2),
    Road("DPO", "dpo", {"beta": BETA}, steps=300, per_step=2048, learning_rate=0.2),
    Road("IPO", "ipo", {"tau": TAU}, optimum="ipo", per_step=1024),
)
"""The roads that must arrive, each within a total variation of 0.02 of its optimum."""

STANDARD_GRPO = Road("GRPO as published", "grpo", _KL)
ASTRAY = (
    STANDARD_GRPO,
    Road("GRPO, no deviation, k3 in the loss", "grpo", {**_KL, "normalise": False}),
    Road("GRPO, no deviation, k2 in the loss", "grpo", {**_KL, "normalise": False, "kl_estimator": "k2"}),
    Road("GRPO, no deviation, k3 in the loss, sums", "grpo", {**_KL, **_SUMS}),
    Road("GRPO, no deviation, k2 in the loss, sums", "grpo", {**_KL, **_SUMS, "kl_estimator": "k2"}),
    Road(
        "GRPO, no deviation, k3 in the reward",
        "grpo",
        {**_KL, "normalise": False, "kl_in": "reward", "kl_estimator": "k3"},
    ),
    Road("RLOO, sign of the KL flipped", "rloo", {**_KL, "kl_coef": -BETA}),
    Road("RLOO, end token masked away", "rloo", _KL, drop_end=True),
)
"""Other settings and mistakes, for the page: how far from reference * exp(reward / beta) they end."""

DISTILLED = Road(
    "rejection sampling of the reference",
    "rejection_sampling",
    optimum="best-of-4",
    steps=300,
    per_step=1024,
    group=4,
    learning_rate=0.05,
    draw_from="reference",
)


@dataclass(frozen=True)
class Trip:
    """What a road led to: total variation to its optimum before the first and after each step, and the end."""

    distances: list[float]
    end_QK: Tensor
    metrics: list[dict[str, float]]

    @property
    def distance(self) -> float:
        return self.distances[-1]


def walk(road: Road, *, seed: int = 0, world: World | None = None) -> Trip:
    """Train along a road by the real loop."""
    world = World.make() if world is None else world
    module = contract.find(road.algorithm)
    algorithm = contract.build(road.algorithm, module.Config(**road.settings))
    policy = Table(world.reference_NV)
    actors = {"policy": Actor(policy, "lm")}
    if "critic" in algorithm.trains:
        actors["critic"] = Actor(Table(torch.zeros_like(world.reference_NV)), "value", FirstNumber())
    optimizer = OptimizerConfig(
        learning_rate=road.learning_rate,
        schedule="linear",
        final_share=0.0,
        warmup_share=0.0,
        beta2=0.99,
        weight_decay=0.0,
        max_grad_norm=1e9,
    )
    config = TrainConfig(
        micro_tokens=10**9, minibatches=road.minibatches, inner_epochs=road.inner_epochs, optimizer=optimizer
    )
    learner = Learner(actors, config, wants=algorithm.wants)
    reference = Table(world.reference_NV)
    source = (Drawn if algorithm.online else Judged)(
        world,
        policy if road.draw_from == "policy" else reference,
        by_group=algorithm.unit == "group",
        group=road.group,
        per_step=road.per_step,
        generator=torch.Generator().manual_seed(seed + 1),
        drop_end=road.drop_end,
    )
    goal_QK = {"kl": world.kl_optimum, "ipo": world.ipo_optimum, "best-of-4": lambda: world.best_of_n(4)}[
        road.optimum
    ]()
    distances, metrics = [total_variation(world.reference_QK, goal_QK)], []
    progress = Progress(generator=torch.Generator().manual_seed(seed))
    scorers = {"reward": Rewards(world), "reference": Frozen(learner, Actor(reference, "lm"))}
    for report in train(algorithm, learner, source, steps=road.steps, progress=progress, scorers=scorers):
        distances.append(total_variation(world.distribution(policy.logits_NV), goal_QK))
        metrics.append(report.metrics)
    return Trip(distances, world.distribution(policy.logits_NV), metrics)
