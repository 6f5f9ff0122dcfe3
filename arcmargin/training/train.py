"""One training run on plain objects: fit, embed the test split, measure."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Int
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from arcmargin.data.image_data import Batches, ImageData
from arcmargin.errors import UserError
from arcmargin.metrics import geometry
from arcmargin.metrics.open_set import Evaluation
from arcmargin.metrics.open_set import evaluate as evaluate_unseen
from arcmargin.record import Embeddings, Snapshots, Unseen
from arcmargin.training.checkpoints import Checkpoints, check_resumable
from arcmargin.training.module import MarginModule
from arcmargin.training.monitor import Monitor
from arcmargin.training.progress import Progress
from arcmargin.training.snapshots import SnapshotTaker


class PassNumber(Callback):
    """Tells the training batches which pass this is: their order depends on nothing else.

    A resumed run draws what an undisturbed one would have: the random state is in the checkpoint.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.random: dict[str, torch.Tensor] = {}

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.batches.set_epoch(trainer.current_epoch)
        if "cpu" in self.random:
            torch.set_rng_state(self.random["cpu"])
        if "cuda" in self.random and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.random["cuda"])
        self.random = {}

    def state_dict(self) -> dict[str, torch.Tensor]:
        on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
        state = {"cpu": torch.get_rng_state()}
        return state | ({"cuda": torch.cuda.get_rng_state()} if on_gpu else {})

    def load_state_dict(self, state_dict: dict[str, torch.Tensor]) -> None:
        self.random = state_dict


class Outcome(NamedTuple):
    """What is left of a finished run."""

    embeddings: Embeddings  # of the whole test split
    predicted: Int[np.ndarray, "n"]  # its classes, by the header
    snapshots: Snapshots
    sampled: Int[np.ndarray, "m"]  # which rows of the test split the snapshots show
    metrics: dict[str, float | None]
    curves: dict[str, list[float | None]]
    durations: dict[str, float]
    unseen: Unseen | None = None  # images of classes held out of training
    openset: Evaluation | None = None  # how they are told apart


def train(
    module: MarginModule,
    data: ImageData,
    trainer: Callable[..., pl.Trainer],
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    folder: Path,
    evaluate: str = "last",
    verification_pairs: int | None = None,
    logger: Logger | None = None,
    watch: Callable[[int, Embeddings, float], None] | None = None,
    report: Callable[[int, int], None] | None = None,
    resume: Path | None = None,
) -> Outcome:
    """Fit, then embed the test split with the weights of the last epoch, or of the `best` one.

    `trainer` makes a Lightning trainer from the arguments given here. Checkpoints go to
    folder/checkpoints: last.ckpt and best.ckpt, the highest validation accuracy.
    Unseen classes are verified on all pairs of their images, or on `verification_pairs` random ones.
    `watch` sees a sample of the test embeddings, with their accuracy, at some of the epochs;
    `report` is told each epoch that ended and how many there are.
    """
    if epochs < 1:
        raise UserError(f"epochs must be at least 1, got {epochs}")
    if evaluate not in ("last", "best"):
        raise UserError(f"evaluate must be 'last' or 'best', got '{evaluate}'")
    _check_pairs(verification_pairs, data)
    if resume is not None:
        check_resumable(resume, module, epochs)
    start = time.perf_counter()
    taker = SnapshotTaker(data, watch=watch)
    batches = Batches(data.train, batch_size, seed=seed)
    checkpoints = Checkpoints(folder / "checkpoints")
    fitter = _trainer(
        trainer,
        max_epochs=epochs,
        callbacks=[
            PassNumber(batches),
            taker,
            Progress(report),
            checkpoints,
            *([Monitor()] if logger else []),
        ],
        logger=logger or False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    _check_validation(fitter, steps=len(batches))
    data = _on_device(data, fitter.strategy.root_device)
    batches.split, taker.data = data.train, data
    _fit(fitter, module, batches, Batches(data.val, 1000), resume)
    trained = time.perf_counter()
    if evaluate == "best" and checkpoints.best:
        state = torch.load(checkpoints.best, map_location="cpu", weights_only=True)
        module.load_state_dict(state["state_dict"])
    module.to(fitter.strategy.root_device).eval()
    embeddings, predicted, metrics = _evaluate(module, data)
    unseen = _unseen(module, data)
    openset = None
    if unseen is not None:
        pairs = data.pairs if verification_pairs is None else verification_pairs
        openset = evaluate_unseen(unseen.embeddings, unseen.labels, pairs)
        metrics |= openset.metrics
    durations = {
        "train_s": trained - start,
        "snapshots_s": taker.seconds,
        "evaluate_s": time.perf_counter() - trained,
    }
    curves = {k: v for k, v in module.curves.items() if any(value is not None for value in v)}
    sampled = taker.index.numpy()
    moments = taker.snapshots()
    return Outcome(
        *(embeddings, predicted, moments, sampled, metrics, curves, durations, unseen, openset)
    )


def _check_pairs(verification_pairs: int | None, data: ImageData) -> None:
    if verification_pairs is None:
        return
    if verification_pairs < 100:
        raise UserError(f"verification_pairs must be at least 100, got {verification_pairs}")
    if data.unseen is None or data.pairs is not None:
        why = "has no unseen classes" if data.unseen is None else "lists its own pairs"
        raise UserError(f"verification_pairs has no effect: the data set {why}; leave it out")


def _trainer(make: Callable[..., pl.Trainer], **arguments: Any) -> pl.Trainer:
    try:
        return make(**arguments)
    except (ValueError, TypeError, MisconfigurationException) as error:
        raise UserError(f"Lightning cannot train with these trainer settings: {error}") from error


def _check_validation(trainer: pl.Trainer, *, steps: int) -> None:
    """Each epoch of `steps` ends with a validation: its accuracy chooses best.ckpt and is the score."""
    left_out = {
        "limit_val_batches": trainer.limit_val_batches == 0,
        "check_val_every_n_epoch": trainer.check_val_every_n_epoch != 1,
        "max_steps": 0 <= trainer.max_steps < steps,
    }
    for key, does in left_out.items():
        if does:
            raise UserError(
                f"every epoch must end with a validation, which trainer.{key}={getattr(trainer, key)} "
                f"leaves out (an epoch has {steps} steps); drop it"
            )


def _fit(
    trainer: pl.Trainer, module: MarginModule, train: Batches, val: Batches, resume: Path | None
) -> None:
    try:
        trainer.fit(module, train, val, ckpt_path=resume, weights_only=True)
    except SystemExit as error:  # Lightning turns Ctrl-C into one
        raise KeyboardInterrupt from error


def _on_device(data: ImageData, device: torch.device) -> ImageData:
    """The images on the accelerator where they take less than half of its free memory."""
    if device.type != "cuda":
        return data
    splits = (data.train, data.val, data.test, data.unseen)
    size = sum(split.images.nbytes for split in splits if split is not None)
    return data.to(device) if size < torch.cuda.mem_get_info(device)[0] / 2 else data


@torch.no_grad()
def _evaluate(
    module: MarginModule, data: ImageData
) -> tuple[Embeddings, np.ndarray, dict[str, float | None]]:
    embedded = module.embed(data.test.images)
    labels = data.test.labels.to(embedded.device)
    predicted = torch.cat([module.header.logits(part).argmax(1) for part in embedded.split(1000)])
    result = Embeddings(
        embedded.cpu().numpy(),
        labels.cpu().numpy(),
        module.header.directions.detach().float().cpu().numpy(),
    )
    accuracy = (predicted == labels).double().mean().item()
    geometric = geometry.measure(result.embeddings, result.labels, data.num_classes)
    return result, predicted.cpu().numpy(), {"accuracy": accuracy, **geometric}


def _unseen(module: MarginModule, data: ImageData) -> Unseen | None:
    if data.unseen is None:
        return None
    embedded = module.embed(data.unseen.images).cpu().numpy()
    return Unseen(
        embedded, data.unseen.labels.cpu().numpy(), np.array(data.unseen_names, dtype=str)
    )
