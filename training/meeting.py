"""Where the three towers meet: mutual attention and a mixture of experts, equation (5) of the design."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.qerec_shape import QERecShape


class Meeting(nn.Module):
    """Equation (5): X' = X + MHA(LN X) over the tokens [u, q, v_i] of each pair, then MoE([X'; u*v; q*v; u*q]).

    Exact, but never carried out pair by pair: whatever is linear is applied once a request and once an intent, so a
    pair costs only its attention weights and the experts' activations. What is left is bound by memory, so sums are
    made in place. `tests/training/test_qerec.py` holds it against the plain formula.
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
        hidden = (crossed @ v.T).add_(per_request.unsqueeze(-1)).add_((v @ to_v.T).T)
        return self._mixture(hidden.add_(self._attention(u, q, v, (to_u, to_q, to_v))))

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
        # Each permutation moves one axis to an end or keeps the last: ONNX Runtime has fast copies for no others.
        of_intent = of_intent.permute(1, 0, 2).permute(2, 0, 1).contiguous()
        intent_part = of_intent @ by_intent.permute(1, 0, 2)
        if intent_part.requires_grad:  # strided gradients would be copied matrix by matrix
            intent_part.register_hook(torch.Tensor.contiguous)  # type: ignore[no-untyped-call]
        return request_part.add_(intent_part.permute(1, 2, 0))

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
        scores = (self.score.unsqueeze(1) @ functional.gelu(hidden[:, :, 1:])).squeeze(2)
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
