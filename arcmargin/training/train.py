"""One training run on plain objects: fit, embed the test split, measure."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import ClusterEnvironment, LightningEnvironment
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from arcmargin.data.image_data import Batches, ImageData, evaluation_batch_size, sample
from arcmargin.errors import Interrupted, UserError
from arcmargin.files import display_path
from arcmargin.metrics import geometry, validation
from arcmargin.metrics.open_set import Evaluation
from arcmargin.metrics.open_set import evaluate as evaluate_unseen
from arcmargin.metrics.score import DEFAULT, DEFAULT_UNSEEN
from arcmargin.metrics.table import VALIDATION, VALIDATION_CLASSES
from arcmargin.record import Arrays, Embeddings, OpenSet, Result, Settings, Snapshots, Unseen
from arcmargin.training import checkpoints
from arcmargin.training.callbacks import (
    Monitor,
    OnEpoch,
    Progress,
    ResumableRandomness,
    StopTogether,
)
from arcmargin.training.module import MarginModule
from arcmargin.training.processes import SharedStatistics
from arcmargin.training.snapshots import Moment, SnapshotTaker

# Images of validation classes in each epoch: a fifteenth of those that it trains on take 3 to 5 % of its
# time, as embedding an image takes a third of training on it; the number of their pairs is bounded too.
SHARE_OF_CLASSES, LEAST_OF_CLASSES, MOST_OF_CLASSES = 15, 200, 2000


def train(
    module: MarginModule,
    data: ImageData,
    trainer: Callable[..., pl.Trainer],
    settings: Settings,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    folder: Path,
    evaluate: str = "last",
    score: str | None = None,
    test: bool = True,
    verification_pairs: int | None = None,
    logger: Logger | None = None,
    on_moment: Callable[[Moment], None] | None = None,
    on_epoch: OnEpoch | None = None,
    environment: ClusterEnvironment | None = None,
    resume: Path | None = None,
) -> Result:
    """Fit, then embed the test split with the weights of the last epoch, or of the `best` one.

    `trainer` makes a Lightning trainer from the arguments given here. Checkpoints go to
    folder/checkpoints: last.ckpt and best.ckpt, the epoch of the best `score`: a validation metric, by
    default mAP@R of the validation classes where there are any, else accuracy. `settings` are what
    module and data were built of; they come back in the result, and nothing here depends on them.
    Validation classes are measured each epoch on a sample of their images that takes a few percent of
    its time, and at the end on all. With `test=False` no image of the test split or of unseen classes
    is looked at: the result has no test metrics and no arrays.
    Unseen classes are verified on all pairs of their images, or on `verification_pairs` random ones.
    `on_moment` sees a sample of the test embeddings at some of the epochs, `on_epoch` each epoch that
    ended: it may raise Interrupted, which comes out here once that epoch's checkpoint is written.

    `environment`: the processes that train together, this one being of rank 0; the others call
    `fit`. `batch_size` is that of all together.
    """
    if epochs < 1:
        raise UserError(f"epochs must be at least 1, got {epochs}")
    if evaluate not in ("last", "best"):
        raise UserError(f"evaluate must be 'last' or 'best', got '{evaluate}'")
    _check_pairs(verification_pairs, data)
    if resume is not None:
        checkpoints.check_resumable(resume, module, epochs)
    start = time.perf_counter()
    takers = _takers(data, test=test, on_moment=on_moment)
    progress = Progress(on_epoch)
    fitter, data, best = fit(
        *(module, data, trainer),
        watching=[*takers, progress, *([Monitor()] if logger or module.shard else [])],
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        folder=folder,
        score=score,
        logger=logger,
        environment=environment,
        resume=resume,
    )
    if progress.interrupted and fitter.current_epoch < epochs:
        raise Interrupted
    trained = time.perf_counter()
    tested_curves = module.curves
    if evaluate == "best":
        state = torch.load(best, map_location="cpu", weights_only=True)
        module.load_state_dict(state["state_dict"])
        tested_curves = state["curves"]
    module.to(fitter.strategy.root_device).eval()
    result = Result(
        settings=settings,
        score_name=_score_name(score, data),
        validation={k: v[-1] for k, v in tested_curves.items() if k.startswith(VALIDATION)}
        | _of_validation_classes(module, data),
        curves={k: v for k, v in module.curves.items() if any(value is not None for value in v)},
        checkpoint=checkpoints.BEST if evaluate == "best" else checkpoints.LAST,
    )
    if test:
        _test(result, module, data, verification_pairs, takers[0].snapshots())
    result.durations = {
        "train_s": trained - start,
        "snapshots_s": sum(taker.seconds for taker in takers),
        "validation_classes_s": module.seconds_of_classes,
        "evaluate_s": time.perf_counter() - trained,
    }
    return result


def _takers(
    data: ImageData, *, test: bool, on_moment: Callable[[Moment], None] | None = None
) -> list[SnapshotTaker]:
    """Empty where no test image may be looked at."""
    return [SnapshotTaker(data, on_moment=on_moment)] if test else []


def _test(
    result: Result,
    module: MarginModule,
    data: ImageData,
    verification_pairs: int | None,
    snapshots: Snapshots,
) -> None:
    """What comes of the test split and of unseen classes, into the result."""
    embeddings, result.metrics = _evaluate(module, data)
    unseen = _embed_unseen(module, data)
    result.arrays = Arrays(embeddings, snapshots, unseen)
    if unseen is not None:
        pairs = data.pairs if verification_pairs is None else verification_pairs
        found = evaluate_unseen(unseen.embeddings, unseen.labels, pairs)
        result.metrics |= found.metrics
        result.intervals, result.open_set = found.intervals, _open_set(found)


def _score_name(score: str | None, data: ImageData) -> str:
    return score or (DEFAULT if data.unseen_val is None else DEFAULT_UNSEEN)


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


def number_of_processes(trainer: Callable[..., pl.Trainer]) -> int:
    """How many processes a trainer wants: one for each device."""
    made = _trainer(trainer, plugins=[LightningEnvironment()], logger=False)
    return int(made.num_devices * made.num_nodes)


def _check_every_epoch_validates(trainer: pl.Trainer, *, steps: int) -> None:
    """It has the score, which chooses best.ckpt. An epoch has `steps` steps."""
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


def fit(
    module: MarginModule,
    data: ImageData,
    trainer: Callable[..., pl.Trainer],
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    folder: Path,
    score: str | None = None,
    test: bool = True,
    environment: ClusterEnvironment | None = None,
    resume: Path | None = None,
    logger: Logger | None = None,
    watching: Sequence[Callback] = (),
) -> tuple[pl.Trainer, ImageData, str]:
    """The trainer that has trained, the data where it trained, and where the best checkpoint is.

    All that a process of rank 1 or above has to do while that of rank 0 is in `train`. Where the head
    is spread over them, each takes part in what `watching` asks of it.
    """
    if module.shard and not watching:
        watching = [*_takers(data, test=test), Monitor()]
    batches = Batches(data.train, batch_size, seed=seed)
    size = evaluation_batch_size(data.image_shape)
    vals = [Batches(data.val, size)]
    if data.unseen_val is not None:
        count = min(max(len(data.train) // SHARE_OF_CLASSES, LEAST_OF_CLASSES), MOST_OF_CLASSES)
        vals.append(Batches(sample(data.unseen_val, count), size))
    elif score and score.startswith(VALIDATION_CLASSES):
        raise UserError(f"score={score} needs validation classes, and the data set has none")
    last, best = checkpoints.callbacks(folder, _score_name(score, data))
    fitter = _trainer(
        trainer,
        max_epochs=epochs,
        callbacks=[ResumableRandomness(batches), *watching, StopTogether(), last, best],
        plugins=[
            # One process: a cluster's variables around it, or a srun on the machine, mean nothing to it.
            environment or LightningEnvironment(),
            checkpoints.AtomicCheckpointIO(),
            *([SharedStatistics()] if environment else []),
        ],
        logger=logger or False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    _check_every_epoch_validates(fitter, steps=len(batches))
    device = fitter.strategy.root_device
    data = _on_device(data, device)
    batches.split, vals[0].split = data.train, data.val
    for part in (batches, *vals):
        part.rank, part.processes = fitter.global_rank, fitter.world_size
    try:
        fitter.fit(module, batches, vals, ckpt_path=resume, weights_only=True)
    except SystemExit as error:  # Lightning turns Ctrl-C into one
        raise KeyboardInterrupt from error
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        if resume is None or module.training_began or isinstance(error, UserError):
            raise
        raise UserError(
            f"resume: {display_path(resume)} is damaged ({type(error).__name__}: {error}): no training "
            "can go on from it"
        ) from error
    return fitter, data, best.best_model_path


def _on_device(data: ImageData, device: torch.device) -> ImageData:
    """The images on the accelerator where they take less than half of its free memory."""
    if device.type != "cuda":
        return data
    size = sum(split.images.nbytes for split in data.splits().values())
    return data.to(device) if size < torch.cuda.mem_get_info(device)[0] / 2 else data


@torch.no_grad()
def _evaluate(module: MarginModule, data: ImageData) -> tuple[Embeddings, dict[str, float | None]]:
    embedded = module.embed(data.test.images)
    labels = data.test.labels.to(embedded.device)
    predicted = torch.cat([module.header.predict(part) for part in embedded.split(1000)])
    result = Embeddings(
        embedded.cpu().numpy(),
        labels.cpu().numpy(),
        module.header.directions.detach().float().cpu().numpy(),
        predicted.cpu().numpy(),
    )
    accuracy = (predicted == labels).double().mean().item()
    geometric = geometry.measure(result.embeddings, result.labels, data.num_classes)
    return result, {"accuracy": accuracy, **geometric}


def _embed_unseen(module: MarginModule, data: ImageData) -> Unseen | None:
    if data.unseen is None:
        return None
    embedded = module.embed(data.unseen.images).cpu().numpy()
    return Unseen(
        embedded, data.unseen.labels.cpu().numpy(), np.array(data.unseen_names, dtype=str)
    )


def _of_validation_classes(module: MarginModule, data: ImageData) -> dict[str, float | None]:
    """On all of their images."""
    if data.unseen_val is None:
        return {}
    start = time.perf_counter()
    embedded = module.embed(data.unseen_val.images).cpu().numpy()
    found = validation.measure(embedded, data.unseen_val.labels.cpu().numpy())
    module.seconds_of_classes += time.perf_counter() - start
    return {f"{VALIDATION_CLASSES}{name}": value for name, value in found.items()}


def _open_set(found: Evaluation) -> OpenSet:
    far = [rate for rate in found.roc.get("far", []) if rate is not None]
    tar = found.roc.get("tar", [])
    return OpenSet(**found.about, far=far, tar=tar, thresholds=found.thresholds, notes=found.notes)
