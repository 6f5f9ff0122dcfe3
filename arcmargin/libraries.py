"""torch, Lightning and W&B, which take seconds to load: once in a process, as fast and as quietly as
they can be."""

import atexit
import gc
import importlib
import logging
import os
import sys
import warnings

_settled = True  # nothing is out of the collector's sight


def load(*, wandb: bool) -> None:
    """With the collector off, and then out of its sight: nothing that an import makes is garbage,
    yet Python would spend a quarter of the time looking for some, and again after every job."""
    global _settled
    if "pytorch_lightning" in sys.modules:
        return
    gc.disable()
    try:
        if wandb:
            importlib.import_module("arcmargin.tracking.start").prepare()
        importlib.import_module(
            "arcmargin.tracking.tracker" if wandb else "arcmargin.training.train"
        )
    finally:
        gc.enable()
    gc.freeze()
    _settled = False
    atexit.register(gc.unfreeze)  # the libraries want to tidy up after themselves


def let_go() -> None:
    """After a job of many: a trainer and its callbacks are cycles, and would keep the job's images."""
    global _settled
    if not _settled:  # what was garbage already when put out of sight may hold on to the first job
        gc.unfreeze()
    gc.collect()
    if not _settled:
        gc.freeze()
    _settled = True


def quiet() -> None:
    """Keep what Lightning says about itself out of the way of what the run says."""
    for name in logging.root.manager.loggerDict:
        if name.startswith(("pytorch_lightning", "lightning")):
            logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # downloads draw bars even into a log file
