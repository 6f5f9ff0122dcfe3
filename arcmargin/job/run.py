"""One run of a configuration (stands in for the rewritten module)."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from arcmargin.job import build as building
from arcmargin.job import results
from arcmargin.job.user_errors import sentence
from arcmargin.record import Damaged, Result

log = logging.getLogger("arcmargin")


class Interrupted(Exception):
    """The run is to end before its last epoch."""


def failed(cfg: DictConfig, error: BaseException) -> Result:
    record = building.blank_record(cfg)
    record.status, record.error = "failed", sentence(error)
    return record


def run(
    cfg: DictConfig,
    folder: Path,
    *,
    group: Path | None = None,
    on_settings: Callable[[Result], None] | None = None,
    on_epoch: Callable[[int, int, float], None] | None = None,
) -> Result:
    try:
        if (before := Result.read(folder)).finished:
            return before
    except Damaged:
        pass
    started = time.perf_counter()
    try:
        data, module, record = building.build(cfg)
    except Exception as error:
        if group is not None:
            tracker = building.tracker(cfg, building.blank_record(cfg), folder, group)
            if tracker:
                tracker.fail(sentence(error))
        raise
    if on_settings is not None:
        on_settings(record)
    from arcmargin.training import train as training

    tracker = building.tracker(cfg, record, folder, group)
    try:
        outcome = training.train(
            module,
            data,
            instantiate(cfg.trainer),
            epochs=cfg.epochs,
            batch_size=cfg.batch_size,
            seed=cfg.seed,
            folder=folder,
            evaluate=cfg.evaluate,
            verification_pairs=building.pair_count(cfg),
            logger=tracker,
            watch=tracker.watch if tracker else None,
            report=(lambda done, total: on_epoch(done, total, 0.0)) if on_epoch else None,
            resume=building.checkpoint(cfg.resume, folder),
        )
        record.metrics = {**outcome.metrics, "gap_predicted_deg": results.predicted_gap(record)}
        record.curves = outcome.curves
        record.extra["checkpoint"] = f"{cfg.evaluate}.ckpt"
        record.extra["score"] = outcome.curves["val_accuracy"][-1]
        for note in results.note_unseen(record, outcome):
            log.warning("%s", note)
        record.wandb = tracker.where if tracker else None
        pictures = results.write(record, outcome, folder)
        record.durations = {**outcome.durations, "total_s": time.perf_counter() - started}
        record.write(folder)
    except BaseException as error:
        if tracker:
            interrupted = isinstance(error, KeyboardInterrupt | Interrupted)
            tracker.close(255) if interrupted else tracker.fail(sentence(error))
        raise
    print(results.table(record))
    print("\n".join(results.short(path) for path in (*pictures, folder)), flush=True)
    if tracker:  # last: the result is on disk whatever W&B does
        tracker.finish(outcome, folder / "checkpoints" / "last.ckpt")
    return record
