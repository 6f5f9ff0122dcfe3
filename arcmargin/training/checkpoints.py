"""The weights on disk: of the last epoch, to go on from, and of the best one."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from arcmargin.backbones.weights import check_fit, read_file
from arcmargin.errors import UserError
from arcmargin.training.module import MarginModule


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


def check_resumable(path: Path, module: MarginModule, epochs: int) -> None:
    """Raises UserError for a checkpoint from which the training of `module` cannot go on."""
    content = read_file(path)
    if not isinstance(content, Mapping) or not {"arcmargin", "state_dict", "epoch"} <= set(content):
        raise UserError(
            f"resume: '{path}' is not one of our checkpoints; give a run folder or its last.ckpt"
        )
    advice = "go on with the settings of the run that wrote it"
    state, described = content["state_dict"], content["arcmargin"] or {}
    check_fit(module, state, str(path), "resume", advice)
    if odd := sorted(set(state) - set(module.state_dict())):
        raise UserError(f"resume: '{path}' has {odd[0]}, which is of another network; {advice}")
    wanted = module.description or {}
    if any(described.get(key) != wanted.get(key) for key in ("mean", "std")):  # of the pixels
        raise UserError(f"resume: '{path}' was trained on other images; {advice}")
    written = content["optimizer_states"][0]["param_groups"][0]
    if lacking := sorted(set(module.new_optimizer().param_groups[0]) - set(written)):
        raise UserError(
            f"resume: '{path}' was trained by another optimizer, one without {lacking[0]}; {advice}"
        )
    if content["epoch"] >= epochs:
        raise UserError(
            f"resume: '{path}' has {content['epoch'] + 1} epochs behind it, more than epochs={epochs}"
        )
