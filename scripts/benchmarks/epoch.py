"""A whole epoch of a run against loops that somebody wrote by hand, in images per second.

Ours is `training.train` as arcmargin.run calls it with its default logger (W&B, offline): training,
validation with its geometry, the logger's curves and pictures, snapshots and checkpoints. As the
measured training is short, snapshots and pictures come oftener than in a whole one. Starting and
ending the training are left out, on both sides.

The loop trains the same model on the same tensors with the same mathematics and computes the
validation accuracy after each epoch: nothing is logged, drawn or kept. The usual pipeline is that
loop over torchvision's MNIST, PIL transforms and a DataLoader with two workers.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from arcmargin.data.image_data import Batches, ImageData, Normalise, Split
from arcmargin.job import schema
from arcmargin.job.build import Choices, build_backbone, settings_of
from arcmargin.job.hydra_versions import version_base
from arcmargin.record import Settings
from arcmargin.training.module import MarginModule
from arcmargin.training.train import train
from benchmarks import mnist_like
from benchmarks.rows import in_turns, ratios, row

LOOP, PIPELINE = "hand-written loop", "torchvision, PIL, DataLoader with 2 workers"
MNIST = ["+experiment=mnist_circle", "header=arcface", "gap_deg=null", "m2=0.4887"]

COMPILER = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")


@dataclass(frozen=True)
class Case:
    name: str
    settings: list[str]
    side: int  # of the images, pixels
    images: int  # of training and validation together


CASES = (
    Case("MNIST recipe, batch 128", [*MNIST, "batch_size=128"], 28, 60_000),
    Case("MNIST recipe as published, batch 256", MNIST, 28, 60_000),
    Case("LeNet on MNIST, batch 64", ["backbone=lenet", "batch_size=64"], 28, 60_000),
    Case("digits, default settings", [], 8, 1_437),
    Case("LeNet on digits, batch 64", ["backbone=lenet", "batch_size=64"], 8, 1_437),
)


def measure(quick: bool) -> list[dict[str, Any]]:
    repeats, share = (2, 0.1) if quick else (3, 1.0)
    # On so few images the logger's pictures, some a training, would be most of the time.
    without, told = (["logger=none"], ", without W&B") if quick else ([], "")
    rows = []
    for case in CASES:
        small = case.images < 10_000
        epochs = (5 if quick else 30) if small else 2
        images = case.images if small else round(share * case.images)
        name = f"{case.name}, {images:,} images{told}" if quick else case.name
        cfg = configuration([*case.settings, f"epochs={epochs}", *without])
        data = mnist_like.tensors(case.side, images, images // 6)
        ours_s, loop_s = in_turns(
            repeats, f"{name}: ours, loop (s)", partial(ours, cfg, data), partial(loop, cfg, data)
        )
        seen = epochs * len(data.train)
        rows.append(
            row(
                *("epoch", name, "throughput", LOOP, ratios(loop_s, ours_s)),
                absolute=_images_per_s(seen, ours_s, loop_s),
            )
        )
    rows.append(_pipeline(quick))
    rows.append(_mapped(quick))
    if not quick and COMPILER:
        rows.append(_compiled())
    return rows


def _images_per_s(seen: int, ours_s: list[float], baseline_s: list[float]) -> dict[str, float]:
    return {
        "ours_images_per_s": seen / sorted(ours_s)[len(ours_s) // 2],
        "baseline_images_per_s": seen / sorted(baseline_s)[len(baseline_s) // 2],
    }


def _pipeline(quick: bool) -> dict[str, Any]:
    images = 6_000 if quick else 60_000
    cfg = configuration([*MNIST, "batch_size=128", "epochs=1", "logger=none"])
    data = mnist_like.tensors(28, images, 1_000)
    with tempfile.TemporaryDirectory() as folder:
        train_batches, val_batches = mnist_like.loaders(folder, data, cfg.batch_size)
        ours_s, usual_s = in_turns(
            1 if quick else 3,
            f"the usual pipeline, {images:,} images: ours, pipeline (s)",
            partial(ours, cfg, data),
            partial(loop, cfg, data, lambda _: train_batches, lambda: val_batches, shift=False),
        )
    case = "MNIST recipe, batch 128, without W&B"
    return row(
        *("epoch", case, "throughput", PIPELINE, ratios(usual_s, ours_s)),
        absolute=_images_per_s(len(data.train), ours_s, usual_s),
    )


def _mapped(quick: bool) -> dict[str, Any]:
    """As images larger than memory are read; here the system keeps the whole file in memory."""
    cfg = configuration([*MNIST, "batch_size=128", "epochs=2", "logger=none"])
    data = mnist_like.tensors(28, 6_000 if quick else 60_000, 1_000)
    with tempfile.TemporaryDirectory() as folder:
        mapped = replace(data, train=mnist_like.mapped(data.train, Path(folder, "images.npy")))
        mapped_s, memory_s = in_turns(
            1 if quick else 3,
            "images mapped from a file, in memory (s)",
            partial(ours, cfg, mapped),
            partial(ours, cfg, data),
        )
    case = "MNIST recipe, batch 128, images mapped from a file, without W&B"
    return row(
        *("epoch", case, "throughput", "the same in memory", ratios(memory_s, mapped_s)),
        absolute=_images_per_s(2 * len(data.train), mapped_s, memory_s),
    )


def _compiled() -> dict[str, Any]:
    """From the second epoch on, as the first one compiles."""
    settings = [*MNIST, "batch_size=128", "epochs=3", "logger=none"]
    data = mnist_like.tensors(28, 20_000, 1_000)
    compiled_s, eager_s = in_turns(
        3,
        "compile=true, compile=false (s)",
        partial(ours, configuration([*settings, "compile=true"]), data, after=1),
        partial(ours, configuration(settings), data, after=1),
    )
    case = "MNIST recipe, batch 128, compile=true, without W&B"
    speed = ratios(eager_s, compiled_s)
    return row("epoch", case, "throughput", "compile=false", speed)


def configuration(settings: list[str]) -> DictConfig:
    schema.store()
    with initialize_config_dir(str(schema.CONF), **version_base()):
        return compose("config", settings, return_hydra_config=True)


def parts(cfg: DictConfig, data: ImageData) -> tuple[Any, Any, Any]:
    """Backbone, header and augmentation, the same each time."""
    pl.seed_everything(cfg.seed, verbose=False)
    size = cfg.embedding_dim.size
    return (
        build_backbone(cfg.backbone, data.image_shape, size),
        instantiate(cfg.header, embedding_dim=size, num_classes=data.num_classes),
        instantiate(cfg.augment),
    )


class Stopwatch(pl.Callback):
    """Counts from the end of epoch `after` on; 0 is the start of training."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.seconds = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = -time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch + 1 == self.after:
            self.seconds = -time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds += time.perf_counter()


def ours(
    cfg: DictConfig, data: ImageData, *, after: int = 0, keep: list[Any] | None = None
) -> float:
    """Seconds that a run trains from the end of epoch `after` on; `keep` receives the module."""
    backbone, header, augment = parts(cfg, data)
    module = MarginModule(
        backbone,
        header,
        optimizer=instantiate(cfg.optimizer),
        schedule=instantiate(cfg.schedule),
        normalise=Normalise(data.mean, data.std),
        augment=augment,
        header_lr=cfg.header_lr,
    )
    if cfg.compile:
        module.backbone.compile()
    chosen = cfg.hydra.runtime.choices
    names = {group: chosen[group] for group in ("header", "dataset", "backbone", "optimizer")}
    settings = settings_of(cfg, Choices(**names, overrides=[]), data=data)
    watch, make = Stopwatch(after), instantiate(cfg.trainer)
    with tempfile.TemporaryDirectory() as folder:
        tracker = _tracker(cfg, settings, Path(folder))
        try:
            train(
                module,
                data,
                lambda **given: make(**{**given, "callbacks": [*given["callbacks"], watch]}),
                settings,
                epochs=cfg.epochs,
                batch_size=cfg.batch_size,
                seed=cfg.seed,
                folder=Path(folder),
                logger=tracker,
                on_moment=tracker.show_moment if tracker else None,
            )
        finally:
            if tracker:
                tracker.close(0)
    if keep is not None:
        keep.append(module)
    return watch.seconds


def _tracker(cfg: DictConfig, settings: Settings, folder: Path) -> Any:
    if cfg.logger is None:
        return None
    content = {k: v for k, v in cfg.items() if k not in ("hydra", "sweep", "logger")}
    config: Any = OmegaConf.to_container(OmegaConf.create(content), resolve=True)
    start = instantiate(cfg.logger, mode="offline", _convert_="all")
    return start(settings=settings, config=config, folder=folder)


def loop(
    cfg: DictConfig,
    data: ImageData,
    batches: Callable[[int], Iterable[tuple[Tensor, Tensor]]] | None = None,
    val_batches: Callable[[], Iterable[tuple[Tensor, Tensor]]] | None = None,
    *,
    shift: bool = True,
    keep: list[Any] | None = None,
) -> float:
    """Seconds of a plain PyTorch training with the same mathematics; without `batches`, on the same
    images in the same order. `shift=False`: the batches come augmented."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone, header, augment = (part.to(device) for part in parts(cfg, data))
    normalise = Normalise(data.mean, data.std)  # once, as one would
    train_split, val_split = (
        Split(normalise(split.images), split.labels).to(device) for split in (data.train, data.val)
    )
    optimizer = instantiate(cfg.optimizer)(
        [
            {"params": list(backbone.parameters())},
            {"params": list(header.parameters()), "weight_decay": 0.0},
        ]
    )
    optimizer.param_groups[1]["lr"] *= cfg.header_lr
    models = nn.ModuleList([backbone, header])
    parameters = list(models.parameters())
    total = len(Batches(data.train, cfg.batch_size, seed=cfg.seed)) * cfg.epochs
    schedule = instantiate(cfg.schedule)(optimizer, total)
    step = 0
    begin = time.perf_counter()
    for epoch in range(cfg.epochs):
        models.train()
        shuffled = batches(epoch) if batches else _shuffled(train_split, cfg, epoch)
        for images, labels in shuffled:
            images, labels = images.to(device), labels.to(device)
            header.set_progress(step / total)
            loss = header.loss(backbone(augment(images) if shift else images), labels)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, cfg.trainer.gradient_clip_val)
            optimizer.step()
            schedule.step()
            step += 1
        models.eval()
        right = 0
        with torch.no_grad():
            for images, labels in val_batches() if val_batches else _in_order(val_split):
                predicted = header.logits(backbone(images.to(device))).argmax(1)
                right += int((predicted == labels.to(device)).sum())
    seconds = time.perf_counter() - begin
    if keep is not None:
        keep += [backbone, header]
    return seconds


def _shuffled(split: Split, cfg: DictConfig, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(cfg.seed * 1_000_003 + epoch)
    order = torch.randperm(len(split), generator=generator).to(split.labels.device)
    for index in order.split(cfg.batch_size):
        if len(index) > 1:  # BatchNorm cannot train on one
            yield split.images[index], split.labels[index]


def _in_order(split: Split) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(split.images.split(1000), split.labels.split(1000), strict=True)
