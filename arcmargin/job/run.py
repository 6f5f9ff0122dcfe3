"""One run of a configuration: build, train, write, tell."""

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from arcmargin.errors import Interrupted, UserError
from arcmargin.files import display_path
from arcmargin.job import folder as run_folder
from arcmargin.job import processes, schema, terminal
from arcmargin.job.identity import identity
from arcmargin.job.provenance import git_commit, versions
from arcmargin.job.user_errors import sentence
from arcmargin.margins import predicted_gap_deg
from arcmargin.record import Result, Settings
from arcmargin.tracking.log_file import LogFile

if TYPE_CHECKING:  # seconds that --help and a typo need not wait for
    from arcmargin.job.build import Choices

log = logging.getLogger("arcmargin")

OnSettings = Callable[[Settings], None]
Curves = Mapping[str, Sequence[float | None]]
OnEpoch = Callable[[int, int, Curves], None]


def run(
    cfg: DictConfig,
    folder: Path,
    *,
    group: Path | None = None,
    output: Path | None = None,
    on_settings: OnSettings | None = None,
    on_epoch: OnEpoch | None = None,
) -> Result:
    """One run: its result lands in `folder`, in which no other process works (`files.alone`). A
    finished result of this very run is returned as it is.

    `group` is the folder of the runs that belong together, `output` the file that takes what is
    printed, where that is no terminal. `on_settings` hears what acts once the objects are built;
    `on_epoch(done, of, validation curves so far)` each epoch, and may raise Interrupted to end the
    run, which comes out here.
    """
    printed = LogFile(output) if output is not None else None
    try:
        schema.check(cfg)
    except UserError as error:
        _log_failure(cfg, error, folder, group, printed)
        raise
    before = run_folder.finished(folder, identity(cfg))
    if before is not None:
        log.info("%s is finished already: %s", before.settings.name, display_path(folder))
        return before
    return _run(cfg, folder, group, printed, on_settings, on_epoch)


def failed(cfg: DictConfig, error: BaseException, settings: Settings | None = None) -> Result:
    """The record of a run that failed, to be written by who wants it."""
    return _unfinished(cfg, settings, status="failed", error=sentence(error))


def pruned(cfg: DictConfig, curves: Curves, settings: Settings | None = None) -> Result:
    """The record of a run that was stopped, as others did better, to be written by who stopped it."""
    return _unfinished(cfg, settings, status="pruned", curves={k: [*v] for k, v in curves.items()})


def _unfinished(cfg: DictConfig, settings: Settings | None, **what: Any) -> Result:
    from arcmargin.job.build import settings_of

    settings = settings or settings_of(cfg, _choices())
    return Result(settings=settings, versions=versions(), git_commit=git_commit(), **what)


def _run(
    cfg: DictConfig,
    folder: Path,
    group: Path | None,
    printed: LogFile | None,
    on_settings: OnSettings | None,
    on_epoch: OnEpoch | None,
) -> Result:
    started = time.perf_counter()
    from arcmargin.job.build import build
    from arcmargin.training import checkpoints

    try:
        place = processes.place_of(cfg)
        data, module, settings = build(cfg, _choices())
    except Exception as error:
        _log_failure(cfg, error, folder, group, printed)
        raise
    if on_settings is not None:
        on_settings(settings)
    tracker = _tracker(cfg, settings, folder, group, printed)
    try:
        resume = checkpoints.find(cfg.resume, folder)
        with processes.gathered(place) as others:
            if others is not None:
                others.begin(processes.task_of(cfg, _choices(), folder, resume))
            result = _trained(
                cfg, data, module, settings, folder, tracker, on_epoch, resume, others
            )
        result.metrics["gap_predicted_deg"] = predicted_gap(settings)
        result.versions, result.git_commit = versions(), git_commit()
        result.wandb = tracker.where if tracker else None
        pictures = _write_arrays_and_pictures(result, folder, group)
        result.durations["total_s"] = time.perf_counter() - started
        result.write(folder)
    except BaseException as error:
        if tracker:
            interrupted = isinstance(error, KeyboardInterrupt | Interrupted)
            tracker.close(255) if interrupted else tracker.fail(failed(cfg, error, settings), error)
        raise
    for note in result.open_set.notes if result.open_set else ():
        log.warning("%s", note)
    colour = terminal.wants_colour(terminal=sys.stdout.isatty())
    print(terminal.result_table(result, colour=colour))
    print(terminal.files_left(pictures, folder), flush=True)
    if tracker:  # last: the result is on disk whatever W&B does
        tracker.finish(result)
    return result


def _trained(
    cfg: DictConfig,
    data: Any,
    module: Any,
    settings: Settings,
    folder: Path,
    tracker: Any,
    on_epoch: OnEpoch | None,
    resume: Path | None,
    others: processes.Processes | None,
) -> Result:
    from arcmargin.training.train import train

    return train(
        module,
        data,
        processes.trainer_of(cfg, several=others is not None),
        settings,
        epochs=cfg.epochs,
        batch_size=settings.batch_size or cfg.batch_size,
        seed=cfg.seed,
        folder=folder,
        evaluate=cfg.evaluate,
        score=None if cfg.score == schema.AUTO else cfg.score,
        test=not settings.is_trial,
        # A list of pairs has become part of the data.
        verification_pairs=None
        if isinstance(cfg.verification_pairs, str)
        else cfg.verification_pairs,
        logger=tracker,
        on_moment=tracker.show_moment if tracker else None,
        on_epoch=on_epoch,
        environment=others.environment if others else None,
        resume=resume,
    )


def predicted_gap(settings: Settings) -> float | None:
    """Degrees, on the circle."""
    s = settings
    if s.embedding_dim != 2 or not s.in_formula or None in (s.m1, s.m2, s.m3):
        return None
    return predicted_gap_deg(s.m1 or 1.0, s.m2 or 0.0, s.m3 or 0.0, len(s.class_names))


def _write_arrays_and_pictures(result: Result, folder: Path, group: Path | None) -> list[Path]:
    """All but the record, which comes last; returns the pictures. A group's pages share plotly.js."""
    from arcmargin.report import figures, interactive, roc
    from arcmargin.report.templates import share_plotly

    arrays = result.arrays
    if arrays is None:
        return []
    arrays.save(folder)
    picture = figures.panel(result, arrays.embeddings)
    pictures = [figures.save(picture, folder / "embedding.png")]
    if (curve := roc.picture(result)) is not None:
        pictures.append(figures.save(curve, folder / "roc.png"))
    plotly = share_plotly(group, folder) if group else None
    page = interactive.embedding_page(
        result, arrays.embeddings, arrays.snapshots, plotly, arrays.unseen
    )
    pictures.append(interactive.write_page(folder / "embedding.html", page))
    return pictures


def _choices() -> "Choices":
    from arcmargin.job.build import Choices

    hydra = HydraConfig.get()
    chosen = hydra.runtime.choices
    names = {group: chosen[group] for group in ("header", "dataset", "backbone", "optimizer")}
    return Choices(**names, overrides=list(hydra.overrides.task))


def _log_failure(
    cfg: DictConfig,
    error: Exception,
    folder: Path,
    group: Path | None,
    printed: LogFile | None,
) -> None:
    """A run of a group that fails before it trains is one of the group's W&B runs all the same."""
    if group is not None:
        result = failed(cfg, error)
        if tracker := _tracker(cfg, result.settings, folder, group, printed):
            tracker.fail(result, error)


def _tracker(
    cfg: DictConfig,
    settings: Settings,
    folder: Path,
    group: Path | None,
    printed: LogFile | None,
) -> Any:
    """The W&B run, unless there is to be none. It goes on where the checkpoint's run broke off."""
    if cfg.logger is None:
        return None
    from arcmargin.training import checkpoints

    checkpoint = checkpoints.find(cfg.resume, folder)
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    return instantiate(cfg.logger, _convert_="all")(
        settings=settings,
        config={**plain, "git_commit": git_commit()},
        folder=folder,
        group=group,
        continues=checkpoint.parent.parent if checkpoint else None,
        printed=printed,
    )
