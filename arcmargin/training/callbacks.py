"""What Lightning calls while a run trains, besides checkpoints and snapshots."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer
from tqdm import tqdm

from arcmargin.data.image_data import Batches
from arcmargin.errors import Interrupted
from arcmargin.metrics.score import DEFAULT, DEFAULT_UNSEEN
from arcmargin.metrics.table import metric

Curves = Mapping[str, Sequence[float | None]]  # each validation metric after every epoch so far
OnEpoch = Callable[[int, int, Curves], None]  # epochs done, of how many


class ResumableRandomness(Callback):
    """A resumed run draws what an undisturbed one would have: the batches are told which pass this is,
    and the random state is in the checkpoint. One that begins has the state of now: Lightning's
    strategies of several processes seed anew on their way."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.random = self.state_dict()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.batches.set_epoch(trainer.current_epoch)
        if "cpu" in self.random:
            torch.set_rng_state(self.random["cpu"])
        if "cuda" in self.random and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.random["cuda"])
        self.random = {}

    def state_dict(self) -> dict[str, Tensor]:
        on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
        state = {"cpu": torch.get_rng_state()}
        return state | ({"cuda": torch.cuda.get_rng_state()} if on_gpu else {})

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        if any(getattr(state, "dtype", None) != torch.uint8 for state in state_dict.values()):
            raise ValueError("its random numbers are not whole")
        self.random = state_dict


class Progress(Callback):
    """A bar over all steps in a terminal, a plain line an epoch everywhere else.

    `on_epoch` is told of each epoch, and may end the run by raising Interrupted.
    """

    def __init__(self, on_epoch: OnEpoch | None = None) -> None:
        self.on_epoch = on_epoch
        self.interrupted = False
        self.bar: tqdm | None = None
        self.started = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = time.perf_counter()
        if sys.stderr.isatty():
            self.bar = tqdm(
                desc=f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}",
                total=int(trainer.estimated_stepping_batches),
                initial=trainer.global_step,
                mininterval=0.1,
                bar_format="{desc} |{bar}| {percentage:.0f} %, {remaining} left{postfix}",
                leave=False,
                dynamic_ncols=True,
                file=sys.stderr,
            )

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.bar is not None:
            self.bar.update()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch, last = trainer.current_epoch + 1, int(trainer.max_epochs or 0)
        measured = getattr(pl_module, "validated", {})
        score = ", ".join(
            f"{metric(name).title} {metric(name).with_unit(measured[name])}"
            for name in (DEFAULT, DEFAULT_UNSEEN)
            if measured.get(name) is not None
        )
        if self.bar is not None:
            self.bar.set_description_str(f"epoch {epoch}/{last}", refresh=False)
            self.bar.set_postfix_str(score, refresh=False)
        else:
            elapsed = time.perf_counter() - self.started
            print(f"epoch {epoch}/{last}  {score}  {elapsed:.1f} s", file=sys.stderr, flush=True)
        if self.on_epoch is not None:
            try:
                self.on_epoch(epoch, last, _curves(pl_module))
            except Interrupted:
                self.interrupted = True
                trainer.should_stop = True  # the checkpoint of this epoch is written after this

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    def on_exception(self, *_: Any) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _curves(module: Any) -> Curves:
    """Of the validation; the module adds the epoch that ends to its own after this."""
    before = module.curves
    return {name: [*before.get(name, ()), now] for name, now in module.validated.items()}


class StopTogether(Callback):
    """What ends training in one process ends it in all; comes after who may end it."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        stop = trainer.strategy.reduce_boolean_decision(trainer.should_stop, all=False)
        trainer.should_stop = stop


class Monitor(Callback):
    """Learning rate, gradient norm (before clipping) and throughput go to the logger, every
    trainer.log_every_n_steps steps and at the end of an epoch that has fewer.

    Between these steps it only counts images: nothing waits for the device. Lightning's own monitors
    have neither the norm nor a common axis.
    """

    def __init__(self) -> None:
        self.images = 0
        self.since = 0.0
        self.step = 0  # of this epoch
        self.learning_rate = 0.0
        self.norm: Tensor | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.images, self.since = 0, time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.step = batch_idx

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: Any, optimizer: Optimizer
    ) -> None:
        if self._is_due(trainer):
            self.norm = pl_module.gradient_norm()
            self.learning_rate = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self.images += len(batch[1])
        if trainer.logger is None or self.norm is None or not self._is_due(trainer):
            return
        norm = float(self.norm)  # waits for the device, so that the time below is true
        now = time.perf_counter()
        values = {
            "epoch": trainer.current_epoch + (batch_idx + 1) / int(trainer.num_training_batches),
            "train_learning_rate": self.learning_rate,
            "train_gradient_norm": norm,
            "train_images_per_s": self.images / (now - self.since),
        }
        trainer.logger.log_metrics(values, step=trainer.global_step)
        self.images, self.since = 0, now

    def _is_due(self, trainer: pl.Trainer) -> bool:
        steps = getattr(trainer, "log_every_n_steps", 0)  # in Lightning's docs, not in its class
        every = min(steps, int(trainer.num_training_batches))
        return every > 0 and (self.step + 1) % every == 0
