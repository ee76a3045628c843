"""QE-Rec: three towers - user, latent query, intent - that meet by mutual attention and a mixture of experts.

Equations (2)-(5) of the design, at the first version's sizes. The abstract of arXiv 2602.12968 names the parts; what
is written here is our specification of them. The intent tower stands alone, because intents are encoded once per
knowledge base and not once per request.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

COSINE_TEMPERATURE = 0.1
"""tau_s of equation (5)."""


@dataclass(frozen=True)
class QERecShape:
    """Everything that fixes the sizes of a model; a checkpoint carries it."""

    numeric: int
    categories: tuple[int, ...]
    event_kinds: int
    sequence: int
    text_width: int
    query_width: int
    intents: int
    families: int
    width: int = 64
    heads: int = 4
    experts: int = 4
    expert_width: int = 16
    query_hidden: int = 128
    query_null_share: float = 0.15
    id_drop_share: float = 0.3
    dropout: float = 0.2


@dataclass(frozen=True)
class Features:
    """One batch of requests as tensors: what `features.schema.encode` gives, and the latent queries.

    numeric f32[B,Fn], categorical i64[B,Fc], event_kinds i64[B,T] (0 = padding), event_ages f32[B,T],
    query f32[B,H] (adapted vectors z; any finite value where has_query is 0), has_query f32[B].
    """

    numeric: Tensor
    categorical: Tensor
    event_kinds: Tensor
    event_ages: Tensor
    query: Tensor
    has_query: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        """The six tensors, in the order of the exported graph's inputs."""
        return (self.numeric, self.categorical, self.event_kinds, self.event_ages, self.query, self.has_query)

    def take(self, index: Tensor) -> Features:
        """The requests at `index`."""
        return Features(*(tensor[index] for tensor in self.tensors()))


def unit(x: Tensor) -> Tensor:
    """Each row over its length; a zero row stays zero (a smaller epsilon is optimised away by the ONNX exporter)."""
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-6)


class UserTower(nn.Module):
    """Equation (2): fields and the last events -> u [B, d]; events are pooled by masked attention."""

    offsets: Tensor
    numeric_mean: Tensor
    numeric_scale: Tensor

    def __init__(self, shape: QERecShape) -> None:
        super().__init__()
        sizes = torch.tensor((0, *shape.categories[:-1]))
        self.register_buffer("offsets", torch.cumsum(sizes, 0) if shape.categories else sizes[:0])
        self.register_buffer("numeric_mean", torch.zeros(shape.numeric))
        self.register_buffer("numeric_scale", torch.ones(shape.numeric))
        self.fields = nn.Embedding(max(1, sum(shape.categories)), 16)
        self.kinds = nn.Embedding(shape.event_kinds, shape.width)
        self.age = nn.Linear(1, shape.width)
        self.attention = nn.Linear(shape.width, 1)
        joined = shape.numeric + 16 * len(shape.categories) + shape.width
        self.mix = nn.Sequential(
            nn.Linear(joined, 2 * shape.width),
            nn.GELU(),
            nn.Dropout(shape.dropout),
            nn.Linear(2 * shape.width, shape.width),
        )

    def forward(self, numeric: Tensor, categorical: Tensor, event_kinds: Tensor, event_ages: Tensor) -> Tensor:
        """U f32[B,d]."""
        scaled = ((numeric - self.numeric_mean) * self.numeric_scale).clamp(-5.0, 5.0)
        fields = self.fields(categorical + self.offsets).flatten(1)
        return cast("Tensor", self.mix(torch.cat([scaled, fields, self._events(event_kinds, event_ages)], -1)))

    def _events(self, kinds: Tensor, ages: Tensor) -> Tensor:
        seen = (kinds > 0).to(ages.dtype)
        events = functional.gelu(self.kinds(kinds) + self.age(ages.unsqueeze(-1)))
        weight = torch.exp(self.attention(events).squeeze(-1).clamp(-8.0, 8.0)) * seen
        weight = weight / (weight.sum(-1, keepdim=True) + 1e-6)
        return (weight.unsqueeze(-1) * events).sum(1)


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


class Meeting(nn.Module):
    """Equation (5): X' = X + MHA(LN X) over the tokens [u, q, v_i] of each pair, then MoE([X'; u*v; q*v; u*q]).

    Exact, but never carried out pair by pair: whatever is linear is applied once a request and once an intent, so a
    pair costs only its attention weights and the experts' activations. `tests/training/test_qerec.py` holds it against
    the plain formula.
    """

    def __init__(self, shape: QERecShape) -> None:
        super().__init__()
        d = shape.width
        self.heads, self.experts = shape.heads, shape.experts
        self.norm = nn.LayerNorm(d)
        self.qkv = nn.Linear(d, 3 * d)
        self.out = nn.Linear(d, d)
        self.hidden = nn.Linear(6 * d, shape.experts * (shape.expert_width + 1))
        self.score = nn.Parameter(torch.randn(shape.experts, shape.expert_width) / math.sqrt(shape.expert_width))

    def forward(self, u: Tensor, q: Tensor, v: Tensor) -> Tensor:
        """Scores f32[B,N] of u f32[B,d], q f32[B,d] against v f32[N,d]."""
        to_u, to_q, to_v, to_uv, to_qv, to_uq = _parts(self.hidden.weight, 6)
        bias = self.hidden.bias + (to_u + to_q + to_v) @ self.out.bias
        per_request = u @ to_u.T + q @ to_q.T + (u * q) @ to_uq.T + bias
        crossed = u.unsqueeze(1) * to_uv + q.unsqueeze(1) * to_qv
        hidden = crossed @ v.T + per_request.unsqueeze(-1) + (v @ to_v.T).T
        return self._mixture(hidden + self._attention(u, q, v, (to_u, to_q, to_v)))

    def _attention(self, u: Tensor, q: Tensor, v: Tensor, to: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """What attention adds to the experts' hidden layer: f32[B,K,N]."""
        queries, keys, values = zip(*(self._split(token) for token in (u, q, v)), strict=True)
        maps = [
            (weight @ self.out.weight).view(weight.shape[0], self.heads, weight.shape[1] // self.heads).permute(1, 2, 0)
            for weight in to
        ]
        weights = [_weights(queries[t], keys, of_intents=t == 2) for t in range(3)]
        by_request = torch.cat([values[s] @ maps[t] for t in range(3) for s in (0, 1)])
        by_intent = torch.cat([values[2] @ maps[t] for t in range(3)])
        of_request = torch.cat([weights[t][s] for t in range(3) for s in (0, 1)])
        of_intent = torch.cat([weights[t][2] for t in range(3)])
        request_part = by_request.permute(1, 2, 0) @ of_request.permute(1, 0, 2)
        intent_part = by_intent.permute(1, 2, 0) @ of_intent.permute(2, 0, 1)
        return request_part + intent_part.permute(2, 1, 0)

    def _by_head(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], self.heads, x.shape[1] // self.heads)

    def _split(self, token: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value f32[heads, rows, d/heads] of one token."""
        q, k, v = (
            self.qkv(self.norm(token))
            .view(token.shape[0], 3, self.heads, token.shape[1] // self.heads)
            .permute(1, 2, 0, 3)
            .unbind(0)
        )
        return q / math.sqrt(q.shape[-1]), k, v

    def _mixture(self, hidden: Tensor) -> Tensor:
        """Softly gated small experts: f32[B,K,N] -> f32[B,N]."""
        hidden = hidden.view(hidden.shape[0], self.experts, hidden.shape[1] // self.experts, hidden.shape[2])
        gate = torch.softmax(hidden[:, :, 0], 1)
        scores = (functional.gelu(hidden[:, :, 1:]) * self.score.unsqueeze(-1)).sum(2)
        return (gate * scores).sum(1)


def _parts(x: Tensor, count: int) -> list[Tensor]:
    """`count` equal slices of the columns (torch.split would export as a sequence, which accelerators lack)."""
    width = x.shape[1] // count
    return [x[:, place * width : (place + 1) * width] for place in range(count)]


def _weights(query: Tensor, keys: Sequence[Tensor], *, of_intents: bool) -> list[Tensor]:
    """One token's attention over [u, q, v]: three f32[heads,B,N] that sum to one."""
    if of_intents:
        to_requests = [(query @ key.transpose(1, 2)).transpose(1, 2) for key in keys[:2]]
        to_intents = (query * keys[2]).sum(-1).unsqueeze(1)
    else:
        to_requests = [(query * key).sum(-1).unsqueeze(-1) for key in keys[:2]]
        to_intents = query @ keys[2].transpose(1, 2)
    exponents = [*to_requests, to_intents]
    top = torch.maximum(torch.maximum(exponents[0], exponents[1]), exponents[2]).detach()
    weights = [torch.exp(exponent - top) for exponent in exponents]
    total = weights[0] + weights[1] + weights[2]
    return [weight / total for weight in weights]


class Head(nn.Module):
    """Equations (2), (4), (5): requests against precomputed intents -> logits [B, N]. This is `ranker.onnx`."""

    def __init__(self, shape: QERecShape) -> None:
        super().__init__()
        self.null_share = shape.query_null_share
        self.user = UserTower(shape)
        self.query = QueryTower(shape)
        self.meeting = Meeting(shape)
        self.cosine_weight = nn.Parameter(torch.tensor(0.0))

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
        q, query_key = self.query(query, has_query)
        cosine = query_key @ intent_key.T
        scores = self.meeting(u, q, intent_repr)
        return cast("Tensor", scores + functional.softplus(self.cosine_weight) * cosine / COSINE_TEMPERATURE)


class QERec(nn.Module):
    """The whole ranker: an intent tower and a head, with the position bias b_k that only training sees."""

    def __init__(self, shape: QERecShape, positions: int = 20) -> None:
        super().__init__()
        self.shape = shape
        self.tower = IntentTower(shape)
        self.head = Head(shape)
        self.position_bias = nn.Parameter(torch.zeros(positions + 1))

    def forward(self, features: Features, intents: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """Logits f32[B,N] of every request against every intent (id_index, text, state, family)."""
        intent_repr, intent_key = self.tower(*intents)
        return cast("Tensor", self.head(*features.tensors(), intent_repr, intent_key))

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
