"""The weights on disk: of the last epoch, to go on from, and of the best one."""

import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint


class Checkpoints(Checkpoint):
    """best.ckpt whenever the validation accuracy rises; last.ckpt after the first epoch, after every
    epoch that ends `every_s` seconds or more after the one before it was written, and at the end.

    Lightning's ModelCheckpoint writes last.ckpt only together with a new best one.
    """

    def __init__(self, folder: Path, *, every_s: float = 5.0) -> None:
        self.folder = folder
        self.every_s = every_s
        self.best: Path | None = None
        self.best_accuracy = -math.inf
        self._written_at = -math.inf
        self._written_step = -1

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        accuracy = float(trainer.callback_metrics["val_accuracy"])
        if accuracy > self.best_accuracy:
            self.best, self.best_accuracy = self.folder / "best.ckpt", accuracy
            trainer.save_checkpoint(self.best)
        final = trainer.current_epoch + 1 == trainer.max_epochs
        if final or time.perf_counter() - self._written_at >= self.every_s:
            self._write_last(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._written_step != trainer.global_step:  # it ended before its last epoch
            self._write_last(trainer)

    def _write_last(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.folder / "last.ckpt")
        self._written_at, self._written_step = time.perf_counter(), trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        return {"best": str(self.best), "best_accuracy": self.best_accuracy}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        best = Path(state_dict["best"])  # in another folder, perhaps, until this run does better
        if best.exists():
            self.best, self.best_accuracy = best, state_dict["best_accuracy"]
