"""QE-Rec: three towers - user, latent query, intent - that meet by mutual attention and a mixture of experts.

Equations (2)-(5) of the design, at the first version's sizes. The abstract of arXiv 2602.12968 names the parts; what
is written here is our specification of them. The intent tower stands alone, because intents are encoded once per
knowledge base and not once per request.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.meeting import Meeting
from training.qerec_shape import QERecShape
from training.scoring import Features, Intents, Scorer
from training.user_tower import UserTower

COSINE_TEMPERATURE = 0.1
"""tau_s of equation (5)."""


def unit(x: Tensor) -> Tensor:
    """Each row over its length; a zero row stays zero (a smaller epsilon is optimised away by the ONNX exporter)."""
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-6)


class QueryTower(nn.Module):
    """Equation (4): a latent query -> q [B, d], and its key for the cosine path; the null query where there is none."""

    def __init__(self, shape: QERecShape) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(shape.query_width)
        self.mlp = nn.Sequential(
            nn.Linear(shape.query_width, shape.query_hidden),
            nn.GELU(),
            nn.Dropout(shape.dropout),
            nn.Linear(shape.query_hidden, shape.width),
        )
        self.null = nn.Parameter(0.02 * torch.randn(shape.width))
        self.key = nn.Linear(shape.query_width, shape.width, bias=False)

    def forward(self, query: Tensor, has_query: Tensor) -> tuple[Tensor, Tensor]:
        """The towers' q f32[B,d], and unit keys f32[B,d] that are zero for the null query."""
        has = has_query.unsqueeze(-1)
        q = has * self.mlp(self.norm(query)) + (1.0 - has) * self.null
        return q, has * unit(self.key(query))


class IntentTower(nn.Module):
    """Equation (3): ID, frozen text vector, frozen LLM state and family -> v [N, d] and unit keys [N, d].

    An id_index of 0 is an intent unknown at training time; ID dropout trains that row. The key is that of (5),
    W_v v_i, plus a projection of the centred LLM state, so that an untrained cosine path already means something.
    The mean of the states is subtracted inside: callers hand over raw states.
    """

    state_mean: Tensor

    def __init__(self, shape: QERecShape) -> None:
        super().__init__()
        self.id_drop_share = shape.id_drop_share
        self.ids = nn.Embedding(shape.intents + 1, 16)
        self.family = nn.Embedding(shape.families + 1, 16)
        self.text = nn.Linear(shape.text_width, shape.width)
        self.register_buffer("state_mean", torch.zeros(shape.query_width))
        self.state_key = nn.Linear(shape.query_width, shape.width, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(32 + 2 * shape.width, 2 * shape.width), nn.GELU(), nn.Linear(2 * shape.width, shape.width)
        )
        self.value_key = nn.Linear(shape.width, shape.width, bias=False)
        nn.init.zeros_(self.value_key.weight)

    def forward(self, id_index: Tensor, text: Tensor, state: Tensor, family: Tensor) -> tuple[Tensor, Tensor]:
        """(v f32[N,d], unit keys f32[N,d]) from id_index i64[N], text f32[N,E], raw state f32[N,H], family i64[N]."""
        if self.training:
            id_index = id_index * (torch.rand(id_index.shape) >= self.id_drop_share)
        key = unit(self.state_key(state - self.state_mean))
        parts = [self.ids(id_index), self.family(family), self.text(text), key]
        v = self.mlp(torch.cat(parts, -1))
        return v, unit(key + self.value_key(v))


class Head(nn.Module):
    """Equations (2), (4), (5): requests against precomputed intents -> logits [B, N]. This is `ranker.onnx`.

    `query_trust` f32[] is how much of a query counts, from the null query (0) to all of it (1).
    """

    query_trust: Tensor

    def __init__(self, shape: QERecShape) -> None:
        super().__init__()
        self.null_share = shape.query_null_share
        self.user = UserTower(shape)
        self.query = QueryTower(shape)
        self.meeting = Meeting(shape)
        self.cosine_weight = nn.Parameter(torch.tensor(0.0))
        self.register_buffer("query_trust", torch.tensor(1.0))

    def forward(  # noqa: PLR0917 - the exported graph's inputs
        self,
        numeric: Tensor,
        categorical: Tensor,
        event_kinds: Tensor,
        event_ages: Tensor,
        query: Tensor,
        has_query: Tensor,
        intent_repr: Tensor,
        intent_key: Tensor,
    ) -> Tensor:
        """Logits f32[B,N]; intent_repr and intent_key f32[N,d] come from the intent tower."""
        if self.training:
            has_query = has_query * (torch.rand(has_query.shape) >= self.null_share)
        u = self.user(numeric, categorical, event_kinds, event_ages)
        q, query_key = self.query(query, self.query_trust * has_query)
        cosine = query_key @ intent_key.T
        scores = self.meeting(u, q, intent_repr)
        return cast("Tensor", scores + functional.softplus(self.cosine_weight) * cosine / COSINE_TEMPERATURE)


class QERec(Scorer):
    """The whole ranker: an intent tower and a head, with the position bias b_k that only training sees."""

    def __init__(self, shape: QERecShape, positions: int = 20) -> None:
        super().__init__(positions)
        self.shape = shape
        self.tower = IntentTower(shape)
        self.head = Head(shape)

    def forward(self, features: Features, intents: Intents) -> Tensor:
        """Logits f32[B,N] of every request against every intent (id_index, text, state, family)."""
        intent_repr, intent_key = self.tower(*intents)
        return cast("Tensor", self.head(*features.tensors(), intent_repr, intent_key))

    def slow_weights(self) -> list[Tensor]:
        """The keys of the cosine path, which start where they mean something: faster, they learn prompts by heart."""
        return [self.head.query.key.weight, self.tower.state_key.weight, self.tower.value_key.weight]

    def trust(self) -> Tensor:
        """How much of a query counts."""
        return self.head.query_trust

    def settle(self, numeric: Tensor, state: Tensor) -> None:
        """Fix what comes from data and is not learned: numeric scales, the mean state, the cosine path's start.

        Both key projections start as the principal directions of the intents' centred states [N, H], so the untrained
        cosine path is the zero-shot centred cosine, as far as d directions can hold it.
        """
        self.head.user.numeric_mean.copy_(numeric.mean(0))
        self.head.user.numeric_scale.copy_(1.0 / numeric.std(0, correction=0).clamp(min=0.05))
        self.tower.state_mean.copy_(state.mean(0))
        centred = state - state.mean(0)
        _, _, directions = torch.linalg.svd(centred, full_matrices=False)
        directions = directions[: self.shape.width]
        with torch.no_grad():
            for projection in (self.head.query.key, self.tower.state_key):
                projection.weight[: len(directions)] = directions
                projection.weight[len(directions) :] = 0.0


def create(shape: QERecShape, seed: int) -> QERec:
    """A fresh model whose weights depend on `seed` alone (the global generator is left as it was)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return QERec(shape)
