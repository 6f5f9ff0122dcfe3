"""The LightningModule: a backbone, a header and the factories of an optimizer and a schedule."""

import math
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from arcmargin.data.image_data import Images, evaluation_batch_size
from arcmargin.errors import UserError
from arcmargin.headers import Header, PartialFC
from arcmargin.headers.partial_fc import classes_of
from arcmargin.metrics import geometry, validation
from arcmargin.metrics.table import VALIDATION, VALIDATION_CLASSES
from arcmargin.training.processes import gathered, own_randomness
from arcmargin.training.spread_head import gradient_norm, of_all_classes, of_these_classes

Batch = (
    UInt8[Tensor, "own c h w"] | Float[Tensor, "own c h w"]
)  # pixels, or what is ready for the network


class TrainingDiverged(UserError):
    """The loss is no longer a finite number."""


class Description(NamedTuple):
    """What it takes to use a checkpoint's backbone, in plain values."""

    backbone: dict[str, Any]  # the settings of its builder, `_target_` among them
    embedding_dim: int
    image_shape: tuple[int, int, int]
    mean: list[float]  # of pixels scaled to 0..1, one a channel
    std: list[float]


class MarginModule(pl.LightningModule):
    """Trains backbone and header together on the header's own loss.

    `normalise` makes of a batch what the backbone takes; by default it takes the batch as it is.
    `header_lr` multiplies the optimizer's rate for the header's parameters. `description` goes into
    each checkpoint. In a batch are the labels of all images; of the images, this process's share.

    While several processes train, a header that says `shard` has its classes spread over them. In a
    checkpoint, and in the module before and after, are all its classes.
    """

    def __init__(
        self,
        backbone: nn.Module,
        header: Header,
        *,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        schedule: Callable[[Optimizer, int], LRScheduler],
        normalise: nn.Module | None = None,
        augment: nn.Module | None = None,
        header_lr: float = 1.0,
        description: Description | None = None,
    ) -> None:
        super().__init__()
        if header_lr < 0:
            raise UserError(f"header_lr must be 0 or more, got {header_lr}")
        self.backbone = backbone
        self.header: Header | PartialFC = header
        self.shard = header.shard
        self.normalise = normalise or nn.Identity()
        self.augment = augment or nn.Identity()
        self.curves: dict[str, list[float | None]] = {"epoch": [], "train_loss": []}
        self.validated: dict[str, float | None] = {}  # what the last validation measured
        self._optimizer = optimizer
        self._schedule = schedule
        self._header_lr = header_lr
        self.description = description
        self.training_began = False
        self._total_steps = 1
        self._rank, self._processes = 0, 1
        # Sums stay on the device: reading them once an epoch keeps the step free of host syncs.
        self._loss_sum: Tensor | float = 0.0
        self._batches = 0
        self._validated: list[tuple[Tensor, Tensor, Tensor]] = []  # embedding, label, whether right
        self._of_classes: list[
            tuple[Tensor, Tensor]
        ] = []  # of validation classes: embedding, label
        self.seconds_of_classes = 0.0  # what these took

    def forward(self, images: Batch) -> Float[Tensor, "own d"]:
        return self.backbone(self.normalise(images))

    def setup(self, stage: str) -> None:
        self._rank, self._processes = self.trainer.global_rank, self.trainer.world_size
        if self._spreads:
            # DistributedDataParallel, which is made next, leaves alone what needs no gradient then.
            self.header.requires_grad_(False)

    @property
    def _spreads(self) -> bool:
        return self.shard and self._processes > 1

    def on_fit_start(self) -> None:
        if self._spreads and isinstance(self.header, Header):
            self.header.requires_grad_(True)
            self.header = PartialFC(self.header, gathered=True)

    def on_train_start(self) -> None:
        self.training_began = True

    def on_train_end(self) -> None:
        if isinstance(self.header, PartialFC):
            self.header = self.header.whole()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.header.set_progress(self.global_step / self._total_steps)

    def training_step(self, batch: tuple[Batch, Int[Tensor, " n"]], batch_idx: int) -> Tensor:
        images, labels = batch
        with self._randomness(batch_idx):
            embeddings = self.backbone(self.augment(self.normalise(images)))
        loss = self.header.loss(self._of_all(embeddings, labels), labels)
        self._loss_sum = self._loss_sum + loss.detach()
        self._batches += 1
        return loss

    def validation_step(
        self, batch: tuple[Batch, Int[Tensor, " n"]], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """The first loader has the validation split, a second one images of validation classes."""
        start = time.perf_counter()
        images, labels = batch
        embeddings = self._of_all(self(images), labels)
        if dataloader_idx:
            self._of_classes.append((embeddings.float().cpu(), labels.cpu()))
            self.seconds_of_classes += time.perf_counter() - start
            return
        right = self.header.predict(embeddings) == labels
        self._validated.append((embeddings.float(), labels, right))

    def _of_all(self, own: Float[Tensor, "own d"], labels: Tensor) -> Float[Tensor, "n d"]:
        return gathered(own, len(labels), self._rank, self._processes)

    def _randomness(self, batch_idx: int) -> AbstractContextManager[None]:
        if self._processes == 1:
            return nullcontext()
        return own_randomness(self.device, self.current_epoch, batch_idx, self._rank)

    def on_validation_epoch_end(self) -> None:
        parts = zip(*self._validated, strict=True)
        embeddings, labels, right = (torch.cat(part).cpu().numpy() for part in parts)
        self._validated = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an embedding may lack a direction in mid-training
            measured = geometry.measure(embeddings, labels)
            of_classes = self._measured_of_classes()
        self.validated = {
            f"{VALIDATION}accuracy": float(right.mean()),
            **{f"{VALIDATION}{name}": value for name, value in measured.items()},
            **{f"{VALIDATION_CLASSES}{name}": value for name, value in of_classes.items()},
        }
        known = {k: math.nan if v is None else v for k, v in self.validated.items()}
        self.log_dict(known, logger=False)  # one of them chooses the best checkpoint

    def _measured_of_classes(self) -> dict[str, float | None]:
        if not self._of_classes:
            return {}
        start = time.perf_counter()
        parts = zip(*self._of_classes, strict=True)
        measured = validation.measure(*(torch.cat(part).numpy() for part in parts))
        self._of_classes = []
        self.seconds_of_classes += time.perf_counter() - start
        return measured

    def on_train_epoch_end(self) -> None:
        loss = float(self._loss_sum) / self._batches
        self._loss_sum, self._batches = 0.0, 0
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the training loss became {loss} in epoch {self.current_epoch + 1}; try a lower "
                "optimizer.lr, a smaller margin or trainer.gradient_clip_val=1"
            )
        self.log("train_loss", loss, logger=False)
        now = {
            "epoch": self.current_epoch + 1,
            "train_loss": loss,
            **self.validated,
        }
        for name, value in now.items():
            self.curves.setdefault(name, []).append(value)
        if self.logger is not None:
            self.logger.log_metrics({k: v for k, v in now.items() if v is not None})

    def gradient_norm(self) -> Tensor:
        """Of the gradients of all processes' parameters; each process asks for it."""
        return gradient_norm(self, self.header)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        if not self._spreads or gradient_clip_algorithm == "value" or not gradient_clip_val:
            super().configure_gradient_clipping(
                optimizer, gradient_clip_val, gradient_clip_algorithm
            )
        else:
            nn.utils.clip_grads_with_norm_(
                self.parameters(), gradient_clip_val, self.gradient_norm()
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if isinstance(self.header, PartialFC):
            of_all_classes(checkpoint, self.header)
        checkpoint["curves"] = self.curves
        if self.description is not None:
            checkpoint["arcmargin"] = self.description._asdict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.curves = {str(name): list(values) for name, values in checkpoint["curves"].items()}
        if not all(isinstance(v, float | int | None) for row in self.curves.values() for v in row):
            raise ValueError("its curves hold what is no number")
        if self._spreads:
            count = self.header.num_classes
            of_these_classes(checkpoint, classes_of(self._rank, self._processes, count), count)

    def new_optimizer(self) -> Optimizer:
        optimizer = self._optimizer(
            [
                {"params": list(self.backbone.parameters())},
                # A direction has no length that could decay.
                {"params": list(self.header.parameters()), "weight_decay": 0.0},
            ]
        )
        optimizer.param_groups[1]["lr"] *= self._header_lr
        return optimizer

    def configure_optimizers(self) -> Any:
        optimizer = self.new_optimizer()
        self._total_steps = int(self.trainer.estimated_stepping_batches)
        schedule = self._schedule(optimizer, self._total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @torch.no_grad()
    def embed(self, images: Images) -> Float[Tensor, "n d"]:
        """Embeddings in evaluation mode, a batch at a time, on the module's device."""
        was_training = self.training
        self.eval()
        size = evaluation_batch_size(images.shape[1:])
        parts = [self(part.to(self.device)).float() for part in images.split(size)]
        self.train(was_training)
        return torch.cat(parts)
