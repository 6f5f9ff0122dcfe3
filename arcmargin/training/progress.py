"""What a person sees while a run trains: a bar in a terminal, a line an epoch everywhere else."""

import sys
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from tqdm import tqdm


class Progress(Callback):
    """A bar over all steps, refreshed at most ten times a second, or plain lines without a terminal."""

    def __init__(self, report: Callable[[int, int], None] | None = None) -> None:
        """`report` is told the epoch that ended and how many there are."""
        self.report = report
        self.bar: tqdm | None = None
        self.started = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = time.perf_counter()
        if sys.stderr.isatty():
            self.bar = tqdm(
                total=int(trainer.estimated_stepping_batches),
                initial=trainer.global_step,
                mininterval=0.1,
                unit="step",
                leave=False,
                dynamic_ncols=True,
            )

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.bar is not None:
            self.bar.update()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch, last = trainer.current_epoch + 1, trainer.max_epochs
        score = f"validation accuracy {100 * trainer.callback_metrics['val_accuracy']:.2f} %"
        if self.bar is not None:
            self.bar.set_description(f"epoch {epoch}/{last}, {score}", refresh=False)
        else:
            elapsed = time.perf_counter() - self.started
            print(f"epoch {epoch}/{last}  {score}  {elapsed:.1f} s", file=sys.stderr, flush=True)
        if self.report is not None:
            self.report(epoch, int(last or epoch))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    def on_exception(self, *_: Any) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
