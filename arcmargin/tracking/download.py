"""Runs that Weights & Biases has, logged from any machines, as run folders that a report reads.

python -m arcmargin.tracking.download --wandb ENTITY/PROJECT --group heads
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

from arcmargin.errors import UserError
from arcmargin.record import RECORD_FILE
from arcmargin.tracking import mode

OUT = Path("outputs/wandb")
# What goes up with each run, as far as it is small: what a report is made from.
FILES = (RECORD_FILE, "embeddings.npz", "snapshots.npz")


class Downloaded(NamedTuple):
    folders: list[Path]  # one a run
    without_record: list[str]  # names of runs that did not end, or were logged by something else


def download(project: str, out: Path, group: str | None = None) -> Downloaded:
    """The training runs of ENTITY/PROJECT, or of one group in it, into out/<group>/<run id>.

    Raises UserError when W&B cannot be asked, or has no such project or runs.
    """
    entity, _, name = project.partition("/")
    if not entity or not name or "/" in name:
        raise UserError(f"expected a W&B project as ENTITY/PROJECT, got '{project}'")
    if reason := mode.problem():
        raise UserError(f"cannot ask W&B: {reason}; run 'wandb login', or check the network")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    filters = {"jobType": "train", **({"group": group} if group else {})}
    try:
        runs = list(wandb.Api().runs(project, filters=filters))
    except (ValueError, wandb.Error) as error:
        raise UserError(f"W&B has no project {project} that this key may read: {error}") from error
    if not runs:
        where = f"group '{group}' of {project}" if group else project
        raise UserError(f"no training runs in {where}; check its name on the project's page")
    downloaded = Downloaded([], [])
    for run in runs:
        folder = out / _file_name(run.group or "no group") / _file_name(run.id)
        files = {file.name: file for file in run.files(names=list(FILES))}
        if RECORD_FILE not in files:
            downloaded.without_record.append(f"{run.name} ({run.state})")
            continue
        for name in sorted(files, key=FILES[::-1].index):  # the record last, as in any run folder
            files[name].download(root=str(folder), replace=True).close()
        downloaded.folders.append(folder)
    return downloaded


def _file_name(text: str) -> str:
    """Names come from others: no path, nothing hidden."""
    return re.sub(r"[^\w.-]+", "_", text).lstrip(".") or "_"
