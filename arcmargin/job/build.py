"""From a composed configuration to plain objects: data, module, record, tracker."""

import logging
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from arcmargin.errors import UserError
from arcmargin.job import results
from arcmargin.margins import (
    check_margins,
    check_scale,
    infeasible_margin_message,
    matched_margins,
)
from arcmargin.record import Record

log = logging.getLogger("arcmargin")


def build(cfg: DictConfig) -> tuple[Any, Any, Record]:
    """Data, module and the record to be; what the user got wrong comes out here."""
    check_margins(cfg.m1, cfg.m2, cfg.m3)
    check_scale(cfg.s)
    _refuse_what_the_header_cannot(cfg)
    import pytorch_lightning as pl
    import torch

    from arcmargin.training.module import MarginModule

    for name in logging.root.manager.loggerDict:
        if name.startswith(("pytorch_lightning", "lightning")):
            logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    data = instantiate(cfg.dataset, _convert_="all")
    if isinstance(pairs := cfg.verification_pairs, str):
        from arcmargin.data import add_pairs

        data = add_pairs(data, pairs, data_dir=cfg.data_dir, on_bad_image=cfg.on_bad_image)
    _match_margins(cfg, data.num_classes)
    pl.seed_everything(cfg.seed, verbose=False)
    size = cfg.embedding_dim.size
    module = MarginModule(
        instantiate(cfg.backbone, image_shape=data.image_shape, embedding_dim=size),
        instantiate(cfg.header, embedding_dim=size, num_classes=data.num_classes, _convert_="all"),
        optimizer=instantiate(cfg.optimizer),
        schedule=instantiate(cfg.schedule),
        augment=instantiate(cfg.augment),
        header_lr=cfg.header_lr,
        description=_description(cfg, data),
    )
    if cfg.backbone.get("frozen"):
        data = _frozen(data, module)
    if cfg.compile:
        module.backbone.compile()  # in place: the names in a checkpoint stay the same
    record = blank_record(cfg, data.class_names)
    _warn(cfg, record)
    return data, module, record


def _refuse_what_the_header_cannot(cfg: DictConfig) -> None:
    """Unlike a margin that has no effect, a saving that is not made would end in a full memory."""
    for key, unset in (("class_chunk", None), ("sample_rate", 1.0)):
        if cfg[key] != unset and key not in cfg.header:
            header = HydraConfig.get().runtime.choices["header"]
            raise UserError(
                f"header={header} takes no {key}: only a head whose loss is a softmax over s·cos θ_j "
                f"with a margin on the target alone does; drop {key}={cfg[key]}"
            )


def _frozen(data: Any, module: Any) -> Any:
    """The data set as the frozen body sees it: once for all runs with these weights and images."""
    from torch.nn import Identity

    from arcmargin.data.features import with_features

    if not isinstance(module.augment, Identity):
        raise UserError(
            "backbone.frozen=true computes features once: images cannot be augmented; set augment=none"
        )
    return with_features(data, module.backbone, Path("outputs/features"))


def _description(cfg: DictConfig, data: Any) -> dict[str, Any]:
    """What it takes to use a checkpoint: the backbone's settings and how images are prepared."""
    backbone: Any = OmegaConf.to_container(cfg.backbone, resolve=True)
    return {
        "backbone": {k: v for k, v in backbone.items() if k not in ("weights", "frozen")},
        "embedding_dim": cfg.embedding_dim.size,
        "image_shape": list(data.image_shape),
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
    }


def pair_count(cfg: DictConfig) -> int | None:
    """How many pairs to draw; a list of pairs has become part of the data."""
    return None if isinstance(cfg.verification_pairs, str) else cfg.verification_pairs


def tracker(cfg: DictConfig, record: Record, folder: Path, sweep: Path | None) -> Any:
    """The W&B run, unless there is to be none. It goes on where the checkpoint's run broke off."""
    if cfg.logger is None:
        return None
    found = checkpoint(cfg.resume, folder)
    config = OmegaConf.to_container(cfg, resolve=True)
    continues = found.parent.parent if found else None
    start = instantiate(cfg.logger, _convert_="all")
    return start(record=record, config=config, folder=folder, sweep=sweep, continues=continues)


def blank_record(cfg: DictConfig, class_names: tuple[str, ...] = ()) -> Record:
    hydra_config = HydraConfig.get()
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    overrides = hydra_config.overrides.task
    return results.new_record(config, hydra_config.runtime.choices, overrides, class_names)


def _match_margins(cfg: DictConfig, num_classes: int) -> None:
    """Replace gap_deg by the one margin that the header names as its own."""
    if cfg.gap_deg is None:
        return
    given = [o for o in HydraConfig.get().overrides.task if re.match(r"\+*m[123]=", o)]
    if given:
        raise UserError(
            f"gap_deg chooses the margins, so {given[0]} cannot be set with it; drop one"
        )
    margins = matched_margins(cfg.gap_deg, num_classes, cfg.embedding_dim.size)
    if cfg.matched is not None:
        cfg[cfg.matched] = margins[cfg.matched]


def _warn(cfg: DictConfig, record: Record) -> None:
    """What a careful reader of the configuration would have noticed."""
    for override in record.overrides:
        key = re.match(r"\+*(m1|m2|m3|s)=", override)
        if key and key[1] not in cfg.header:
            log.warning("%s takes no %s: %s has no effect", record.header, key[1], override)
    if not results.in_formula(record):
        return
    margins = (record.m1, record.m2, record.m3)
    infeasible = infeasible_margin_message(*margins, len(record.class_names), record.embedding_dim)
    if infeasible:
        log.warning("%s", infeasible)


def checkpoint(resume: str | None, folder: Path) -> Path | None:
    """The checkpoint asked for, or the one that an interrupted run left in this same folder."""
    if resume is None:
        last = folder / "checkpoints" / "last.ckpt"
        if not last.exists() or _whole(last):
            return last if last.exists() else None
        log.warning("%s is damaged; training starts from the beginning", results.short(last))
        last.unlink()
        return None
    path = Path(resume)
    path = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
    if not path.is_file():
        raise UserError(
            f"resume={resume} holds no checkpoint; give a run folder or a file such as "
            "outputs/runs/<run>/checkpoints/last.ckpt"
        )
    if not _whole(path):
        raise UserError(f"{results.short(path)} is damaged: no training can go on from it")
    return path


def _whole(checkpoint: Path) -> bool:
    """A checkpoint is a zip archive with a checksum for each of its parts."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError):
        return False
