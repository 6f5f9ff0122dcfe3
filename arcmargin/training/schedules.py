"""Learning-rate schedules over a known number of steps, as multiples of each group's own rate."""

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from arcmargin.errors import UserError


def constant(optimizer: Optimizer, total_steps: int) -> LambdaLR:
    """The optimizer's rate throughout."""
    return LambdaLR(optimizer, lambda step: 1.0)


def cosine(optimizer: Optimizer, total_steps: int) -> LambdaLR:
    """From the optimizer's rate to zero along half a cosine (Loshchilov and Hutter 2017, eq. 5)."""
    return LambdaLR(optimizer, _cosine_between(1.0, 0.0, total_steps))


def one_cycle(optimizer: Optimizer, total_steps: int, *, warmup: float = 0.25) -> LambdaLR:
    """From 1/25 of the rate up to it over `warmup` of the steps, then down to zero, along cosines."""
    if not 0.0 <= warmup < 1.0:
        raise UserError(f"schedule.warmup must be in [0, 1), got {warmup}")
    peak = round(warmup * total_steps)
    up = _cosine_between(1 / 25, 1.0, peak)
    down = _cosine_between(1.0, 0.0, total_steps - peak)
    return LambdaLR(optimizer, lambda step: up(step) if step < peak else down(step - peak))


def _cosine_between(start: float, end: float, steps: int) -> Callable[[int], float]:
    def factor(step: int) -> float:
        progress = min(step / max(steps, 1), 1.0)
        return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2

    return factor
