"""Training in several processes: what they tell each other in a step.

Each sends its share of a batch's images through the backbone. The embeddings are gathered, and every
process computes the head's loss on the whole batch: whatever a head makes of a batch, such as a mean of
norms, is what it would be in one process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float
from lightning_fabric.plugins.environments import ClusterEnvironment
from pytorch_lightning.plugins.layer_sync import TorchSyncBatchNorm
from torch import Tensor, nn
from torch.nn import functional as F

from arcmargin.data.image_data import share_of


def gathered(
    own: Float[Tensor, "own d"], count: int, rank: int, processes: int
) -> Float[Tensor, "count d"]:
    """The embeddings of a whole batch of `count` images, in its order, from the share of each process.

    The gradient is for a loss that every process computes alike, and a backbone whose gradients are
    averaged over the processes, as DistributedDataParallel does.
    """
    if processes == 1:
        return own
    shares = [share_of(count, r, processes) for r in range(processes)]
    whole: Tensor = _Gather.apply(own, [s.stop - s.start for s in shares], rank)
    return whole


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, sizes: list[int], rank: int) -> Tensor:
        ctx.sizes, ctx.rank = sizes, rank
        padded = own.new_zeros(sizes[0], *own.shape[1:])  # no share is larger than the first
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # Every process has the whole gradient already; the average over them divides it.
        return grad.split(ctx.sizes)[ctx.rank] * len(ctx.sizes), None, None


@contextmanager
def own_randomness(device: torch.device, *place: int) -> Iterator[None]:
    """Random numbers of this process's own, for augmentation and dropout; the head draws what all draw.

    `place`: what they depend on besides the run's seed, so that a resumed run draws them again.
    """
    seed = np.random.SeedSequence((torch.initial_seed() % 2**63, *place)).generate_state(1)[0]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(seed))
        yield


BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


class SharedBatchNorm(nn.Module):
    """A BatchNorm over the batch of all processes, with the tensors of `alone`, on any device: torch's
    SyncBatchNorm needs a GPU."""

    def __init__(self, alone: BatchNorm) -> None:
        super().__init__()
        self.eps, self.momentum = alone.eps, alone.momentum
        for name, parameter in alone.named_parameters():
            self.register_parameter(name, parameter)
        for name, buffer in alone.named_buffers():
            self.register_buffer(name, buffer)
        self.train(alone.training)

    @torch.compiler.disable
    def forward(self, x: Float[Tensor, "n c *hw"]) -> Float[Tensor, "n c *hw"]:
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        weight, bias = tensors.get("weight"), tensors.get("bias")
        running_mean, running_var = tensors.get("running_mean"), tensors.get("running_var")
        if not self.training and running_mean is not None:
            return F.batch_norm(x, running_mean, running_var, weight, bias, eps=self.eps)
        others = [d for d in range(x.ndim) if d != 1]
        shape = [-1 if d == 1 else 1 for d in range(x.ndim)]
        per_channel = x.new_tensor([x.numel() // x.shape[1]])
        *sums, count = _Sum.apply(torch.cat([x.sum(others), per_channel])).split([x.shape[1], 1])
        mean = sums[0] / count
        centred = x - mean.view(shape)
        variance = _Sum.apply((centred**2).sum(others)) / count
        if running_mean is not None and running_var is not None:
            batches = tensors["num_batches_tracked"].add_(1)
            # torch's None: the mean of all batches so far.
            momentum = 1 / float(batches) if self.momentum is None else self.momentum
            running_mean.lerp_(mean.detach(), momentum)
            running_var.lerp_((variance * count / (count - 1)).detach(), momentum)
        scaled = centred * (variance + self.eps).rsqrt().view(shape)
        if weight is not None and bias is not None:
            scaled = scaled * weight.view(shape) + bias.view(shape)
        return scaled


class _Sum(torch.autograd.Function):
    """Over the processes; so is the gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _Sum.forward(ctx, grad)


class SharedStatistics(TorchSyncBatchNorm):
    """While Lightning fits, every BatchNorm is one over all processes: on a GPU torch's, else ours."""

    def __init__(self) -> None:
        self.alone: list[tuple[nn.Module, str, BatchNorm]] = []

    def apply(self, model: nn.Module) -> nn.Module:
        if model.device.type == "cuda":
            return super().apply(model)
        for parent in list(model.modules()):
            for name, layer in list(parent.named_children()):
                if isinstance(layer, BatchNorm):
                    self.alone.append((parent, name, layer))
                    parent.add_module(name, SharedBatchNorm(layer))
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        if not self.alone:
            return super().revert(model)
        for parent, name, layer in self.alone:
            for buffer, value in parent.get_submodule(name).named_buffers():
                setattr(layer, buffer, value)  # another one where the module was moved or cast
            parent.add_module(name, layer.train(parent.training))
        return model


class JoinedProcesses(ClusterEnvironment):
    """Processes of one machine that have joined a process group already."""

    creates_processes_externally = True
    main_address, main_port = "127.0.0.1", 0  # of no use: the group exists

    @staticmethod
    def detect() -> bool:
        return dist.is_initialized()

    def world_size(self) -> int:
        return dist.get_world_size()

    def global_rank(self) -> int:
        return dist.get_rank()

    def local_rank(self) -> int:
        return dist.get_rank()

    def node_rank(self) -> int:
        return 0

    def set_world_size(self, size: int) -> None:
        pass

    def set_global_rank(self, rank: int) -> None:
        pass
