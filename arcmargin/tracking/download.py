"""Runs that Weights & Biases has, logged from any machines, as run folders; and their report.

python -m arcmargin.tracking.download --wandb ENTITY/PROJECT --group heads
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from arcmargin.errors import UserError
from arcmargin.record import RECORD_FILE
from arcmargin.tracking import mode

# What goes up with each run, and comes down again: what a report is made from.
FILES = (RECORD_FILE, "embeddings.npz", "unseen.npz", "snapshots.npz", "embedding.png")


class Downloaded(NamedTuple):
    folders: list[Path]  # one a run
    without_record: list[str]  # names of runs that have not ended, or that something else logged


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


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: of a report on runs that W&B has or, without --wandb, on folders here. Returns
    the exit code."""
    parser = argparse.ArgumentParser(
        description="A report on runs that W&B has, from whichever machines they were logged.",
        epilog="Further options are those of a report on folders: python -m arcmargin.report --help",
        allow_abbrev=False,
    )
    parser.add_argument("--wandb", metavar="ENTITY/PROJECT", help="whose runs")
    parser.add_argument("--group", metavar="NAME", help="only those of this group: of one sweep")
    parser.add_argument(
        "--out", metavar="DIR", help="for runs and report (default: outputs/wandb/PROJECT)"
    )
    args, further = parser.parse_known_args(argv)
    from arcmargin.report import write

    if args.wandb is None:
        return write.main([*further, *(["--out", args.out] if args.out else [])])
    out = Path(args.out or Path("outputs/wandb") / _file_name(args.wandb.rpartition("/")[2]))
    try:
        found = download(args.wandb, out, args.group)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name in found.without_record:
        print(f"skipped: {name} has no {RECORD_FILE}", file=sys.stderr)
    folder = out / _file_name(args.group) if args.group else out
    print(f"{len(found.folders)} run(s) from W&B in {folder}", file=sys.stderr)
    return write.main([str(folder), *further]) if found.folders else 1


if __name__ == "__main__":
    sys.exit(main())
