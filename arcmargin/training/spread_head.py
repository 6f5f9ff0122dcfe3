"""A head whose classes are spread over the processes that train: its gradient's norm, its checkpoints.

A checkpoint holds all classes, whatever number of processes wrote it, and any number goes on from it.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from arcmargin.headers import PartialFC

HERE, OF_ALL = "header.header.", "header."  # a state's names of a head's tensors
HEAD = 1  # the parameter group of the head


def gradient_norm(module: nn.Module, header: nn.Module) -> Float[Tensor, ""]:
    """Of all parameters of a module, whose head this is. Every process asks for it."""
    if not isinstance(header, PartialFC):
        return nn.utils.get_total_norm(_gradients(module))
    spread = {id(gradient) for gradient in _gradients(header)}
    alike = [gradient for gradient in _gradients(module) if id(gradient) not in spread]
    squares = nn.utils.get_total_norm(_gradients(header)) ** 2
    dist.all_reduce(squares, group=header.group)
    return torch.sqrt(squares + nn.utils.get_total_norm(alike) ** 2)


def _gradients(module: nn.Module) -> list[Tensor]:
    return [one.grad for one in module.parameters() if one.grad is not None]


def of_all_classes(checkpoint: dict[str, Any], header: PartialFC) -> None:
    """Makes what this process would save that of all. Every process takes part."""

    def gather(own: Tensor) -> Tensor:
        return header.of_all_classes(own).cpu()

    state = checkpoint["state_dict"]
    for name in [name for name in state if name.startswith(HERE)]:
        state[OF_ALL + name.removeprefix(HERE)] = gather(state.pop(name))
    _change_optimizer_states(checkpoint, gather, len(header.classes))


def of_these_classes(checkpoint: dict[str, Any], classes: range, num_classes: int) -> None:
    """Makes the optimizer's state in a checkpoint that of the process that has these classes."""

    def take(whole: Tensor) -> Tensor:
        return whole[classes.start : classes.stop].clone()

    _change_optimizer_states(checkpoint, take, num_classes)


def _change_optimizer_states(
    checkpoint: dict[str, Any], change: Callable[[Tensor], Tensor], rows: int
) -> None:
    """Of the head's parameters, what has a row for each of `rows` classes."""

    def changed(value: Any) -> Any:
        by_class = isinstance(value, Tensor) and value.shape[:1] == (rows,)
        return change(value) if by_class else value

    for optimizer in checkpoint["optimizer_states"]:
        state = optimizer["state"]
        for head in optimizer["param_groups"][HEAD]["params"]:
            if head in state:  # it has none before the first step
                # Another dictionary: the optimizer goes on with its own.
                state[head] = {key: changed(value) for key, value in state[head].items()}
