"""What the embeddings look like on the way: a sample of the test split at some of the epochs."""

import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from arcmargin.data.image_data import ImageData, thumbnails
from arcmargin.metrics import geometry
from arcmargin.record import Embeddings, Snapshots

_KEPT = ("epochs", "embeddings", "centres", "metrics")  # in a checkpoint
THUMBNAIL_PIXELS = 2_000_000  # of all snapshot images together: keeps an HTML page small


class Moment(NamedTuple):
    """The sample after an epoch, measured."""

    epoch: int
    embeddings: Embeddings
    metrics: dict[str, float | None]  # accuracy and geometry


class SnapshotTaker(Callback):
    """Embeds a bounded sample of test images through the epochs, for the replay of training.

    At most `moments` + 1 times, at most `size` images: about a percent of a usual run's time.
    `on_moment` is told each of them.
    """

    def __init__(
        self,
        data: ImageData,
        *,
        size: int = 2000,
        moments: int = 16,
        on_moment: Callable[[Moment], None] | None = None,
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        self.rows = torch.randperm(len(data.test), generator=generator)[:size].sort().values
        self.data = data
        self.moments = moments
        self.on_moment = on_moment
        self.epochs: list[int] = []
        self.embeddings: list[torch.Tensor] = []
        self.centres: list[torch.Tensor] = []
        self.metrics: list[dict[str, float | None]] = []
        self.seconds = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.epochs:  # a resumed run has its beginning already
            self._take(0, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch, last = trainer.current_epoch + 1, trainer.max_epochs or 1
        # Evenly spaced moments; the last epoch is always one of them.
        if epoch * self.moments // last > (epoch - 1) * self.moments // last:
            self._take(epoch, pl_module)

    @torch.no_grad()
    def _take(self, epoch: int, module: Any) -> None:
        start = time.perf_counter()
        split = self.data.test
        rows = self.rows.to(split.labels.device)
        embedded = module.embed(split.images[rows])
        self.epochs.append(epoch)
        self.embeddings.append(embedded.cpu())
        self.centres.append(module.header.directions.detach().float().cpu())
        labels = split.labels[rows].to(embedded.device)
        right = module.header.predict(embedded) == labels
        arrays = self.embeddings[-1].numpy(), labels.cpu().numpy(), self.centres[-1].numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an embedding may lack a direction in mid-training
            geometric = geometry.measure(*arrays[:2])
        self.metrics.append({"accuracy": right.double().mean().item(), **geometric})
        if self.on_moment is not None:
            self.on_moment(Moment(epoch, Embeddings(*arrays), self.metrics[-1]))
        self.seconds += time.perf_counter() - start

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _KEPT}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        kept = {name: list(state_dict[name]) for name in _KEPT}
        tensors = [*kept["embeddings"], *kept["centres"]]
        alike = len({len(moments) for moments in kept.values()}) == 1
        if not alike or not all(isinstance(one, Tensor) for one in tensors):
            raise ValueError("its snapshots are not whole")
        for name, moments in kept.items():
            setattr(self, name, moments)

    def snapshots(self) -> Snapshots:
        split = self.data.test
        rows = self.rows.to(split.labels.device)
        images = split.images[rows]
        shown = self.data.pictures and images.numel() <= THUMBNAIL_PIXELS
        return Snapshots(
            epochs=np.asarray(self.epochs),
            embeddings=torch.stack(self.embeddings).numpy(),
            labels=split.labels[rows].cpu().numpy(),
            centres=torch.stack(self.centres).numpy(),
            rows=self.rows.numpy(),
            metric_names=np.array(list(self.metrics[0]), dtype=str),
            metrics=np.array([list(one.values()) for one in self.metrics], dtype=float),
            thumbnails=thumbnails(images) if shown else None,
        )
