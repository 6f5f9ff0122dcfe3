"""The W&B run of a whole sweep: comparison grid, summary table and report; where to find it all."""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from arcmargin.report.tables import read_csv
from arcmargin.tracking.start import ID_FILE, begin, without_key


def log_report(files: Sequence[Path], sweep: Path, settings: Mapping[str, Any]) -> None:
    """Logs a report's files as media and as an artifact, then says where the sweep's runs are.

    `settings` are the configuration's wandb keys. A repeated sweep updates the same W&B run.
    """
    arguments: dict[str, Any] = {
        "project": settings["project"],
        "entity": settings["entity"],
        "name": f"report {sweep.name}",
        "group": sweep.name,
        "job_type": "report",
        "tags": ["report", *settings["tags"]],
        "dir": str(sweep),
        "config": {"sweep": sweep.name, "folder": str(sweep)},
    }
    own = sweep / "report"
    before = own if (own / ID_FILE).exists() else None
    run = begin(settings["mode"], arguments, own, group=sweep, continues=before)
    if run is None:
        return
    try:
        run.log({file.name.replace(".", "_"): shown(file) for file in files if shown(file)})
        artifact = wandb.Artifact(f"report-{run.id}", type="report")
        for file in files:
            artifact.add_file(str(file))
        run.log_artifact(artifact)
        run.finish()
    except Exception as error:
        print(f"W&B did not take the report ({without_key(error)}); it is complete in {own}")
    if run.offline:
        directory = shlex.quote(os.path.relpath(Path(run.dir).parent.parent))
        print(f"W&B: offline; to browse in the terminal: wandb leet {directory}")
        print(f"              to upload: wandb sync {directory}")
    else:
        print(f"W&B: {run.url}")


def shown(file: Path) -> Any:
    """A report's file as W&B shows it; None for what only the artifact holds, such as index.html,
    whose pictures lie beside the runs."""
    if file.name == "index.html":
        return None
    if file.suffix == ".png":
        return wandb.Image(str(file))
    if file.suffix == ".csv":
        rows = read_csv(file)
        columns: list[str | int] = list(rows[0]) if rows else []
        return wandb.Table(columns, [[_number(value) for value in row.values()] for row in rows])
    if file.suffix == ".html":
        return wandb.Html(file.read_text(encoding="utf-8"), inject=False)
    return None


def _number(text: str) -> float | str | None:
    try:
        return float(text) if text else None
    except ValueError:
        return text
