"""How training goes between two epochs: learning rate, gradient norm, throughput, to the logger."""

import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer


class Monitor(Callback):
    """Logs every trainer.log_every_n_steps steps, and at the end of an epoch that has fewer.

    Between these steps it only counts images: nothing waits for the device.
    """

    def __init__(self) -> None:
        self._images = 0
        self._since = 0.0
        self._learning_rate = 0.0
        self._norm: Tensor | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._images, self._since = 0, time.perf_counter()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if self._due(trainer, trainer.fit_loop.epoch_loop.batch_idx):
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            self._norm = torch.nn.utils.get_total_norm(gradients)  # before clipping
            self._learning_rate = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        index: int,
    ) -> None:
        self._images += len(batch[1])
        if trainer.logger is None or self._norm is None or not self._due(trainer, index):
            return
        norm = float(self._norm)  # waits for the device, so that the time below is true
        now = time.perf_counter()
        values = {
            "epoch": trainer.current_epoch + (index + 1) / int(trainer.num_training_batches),
            "train_learning_rate": self._learning_rate,
            "train_gradient_norm": norm,
            "train_images_per_s": self._images / (now - self._since),
        }
        trainer.logger.log_metrics(values, step=trainer.global_step)
        self._images, self._since = 0, now

    def _due(self, trainer: pl.Trainer, index: int) -> bool:
        steps: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # Lightning sets it late
        every = min(steps, int(trainer.num_training_batches))
        return every > 0 and (index + 1) % every == 0
