"""One training run over several processes: started by torchrun it shares every batch, started alone it changes nothing.

Gradients are added up over the processes after each step's backward pass. Since each loss is normalised over the whole
batch (`training.losses`), their sum is the gradient that one process would have had.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Team:
    """The processes that train together: this one is `rank` of `size`, on `device`."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def share(self, index: Tensor) -> Tensor:
        """What this process takes of a batch."""
        return index[self.rank :: self.size]

    def total(self, count: Tensor) -> Tensor:
        """A number added up over all processes; no gradient flows through it."""
        if self.size == 1:
            return count
        whole = count.detach().clone()
        distributed.all_reduce(whole)
        return whole

    def add_gradients(self, model: nn.Module) -> None:
        """Every weight's gradient, added up over all processes; a weight that this one did not use counts 0."""
        if self.size == 1:
            return
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        flat = torch.cat([(torch.zeros_like(w) if w.grad is None else w.grad).flatten() for w in weights])
        distributed.all_reduce(flat)
        for weight, part in zip(weights, torch.split(flat, [weight.numel() for weight in weights]), strict=True):
            weight.grad = part.view_as(weight).clone()


def team() -> Team:
    """The team that torchrun's environment names, joined at the first call; this process alone without it.

    On machines with CUDA every process takes the device of its local rank and talks by NCCL, elsewhere by gloo.
    """
    has_cuda = torch.cuda.is_available()
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if has_cuda else torch.device("cpu")
    if size == 1:
        return Team(device=device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if has_cuda else "gloo")
    return Team(distributed.get_rank(), size, device)
