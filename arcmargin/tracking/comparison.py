"""The W&B run of a whole sweep: its report, links to the other runs, and how to upload what is not."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from arcmargin.files import display_path
from arcmargin.record import find_results
from arcmargin.report.tables import read_csv
from arcmargin.report.templates import self_contained
from arcmargin.tracking import mode as wandb_mode
from arcmargin.tracking.start import begin, without_key
from arcmargin.tracking.tracker import NOT_UPLOADED, add_to_notes, group_url, run_name

MOST_LINKS = 200


def log_report(files: Sequence[Path], sweep: Path, settings: Mapping[str, Any]) -> None:
    """Logs a report's files as media and as an artifact, then says where the sweep's runs are.

    `settings` are the configuration's wandb keys. A repeated sweep updates the same W&B run.
    """
    group = wandb_mode.read_group(sweep)
    if group is None:
        return
    arguments: dict[str, Any] = {
        "project": settings["project"],
        "entity": settings["entity"],
        "name": f"report {sweep.name}",
        "group": sweep.name,
        "job_type": "report",
        "tags": ["report", *settings["tags"]],
        "notes": settings["notes"],
        "dir": str(sweep),
        "config": {"sweep": sweep.name, "folder": str(sweep)},
        "id": group.report_id,
        "resume": "allow",
    }
    decision = wandb_mode.decide(settings["mode"], sweep)
    run = begin(decision, arguments, {"console": "off", "save_code": False}, group=sweep)
    if run is None:
        return
    try:
        run.log({f"report/{file.stem}": media for file in files if (media := shown(file))})
        if not run.offline:
            add_to_notes(run, settings["notes"], links(run, sweep, group.varying))
        artifact = wandb.Artifact(f"report-{run.id}", type="report")
        for file in files:
            artifact.add_file(str(file), name=file.relative_to(sweep / "report").as_posix())
        run.log_artifact(artifact)
        run.finish()
    except Exception as error:
        where = display_path(sweep / "report")
        print(f"W&B did not take the report ({without_key(error)}); it is complete in {where}")
        if not run.offline:
            (Path(run.sync_dir) / NOT_UPLOADED).touch()
    print(last_words(run, group.reason))


def shown(file: Path) -> Any:
    """A report's file as W&B shows it; None for what only the artifact holds, such as index.html,
    whose pictures lie beside the runs."""
    if file.name == "index.html":
        return None
    if file.suffix == ".png":
        return wandb.Image(str(file))
    if file.suffix == ".csv":
        return wandb.Table(dataframe=read_csv(file))
    if file.suffix == ".html":
        return wandb.Html(self_contained(file.read_text(encoding="utf-8")), inject=False)
    return None


def links(run: Any, sweep: Path, varying: Sequence[str]) -> str:
    """Markdown: the sweep's page and each of its runs that is online."""
    lines = [f"[all runs of {sweep.name}]({group_url(run)})", ""]
    for result in find_results(sweep).results:
        if result.wandb and (url := result.wandb.get("url")):
            lines.append(f"- [{run_name(result.settings, varying)}]({url})")
    return "\n".join(lines[: MOST_LINKS + 2])


def last_words(run: Any, reason: str | None) -> str:
    """Where the sweep's runs are."""
    directory = Path(run.sync_dir).parent
    where = shlex.quote(display_path(directory))
    cut_off = sorted(path.parent for path in directory.glob(f"run-*/{NOT_UPLOADED}"))
    if cut_off:
        paths = [shlex.quote(display_path(path)) for path in cut_off]
        paths += [f"{where}/offline-run-*"] * any(directory.glob("offline-run-*"))
        return f"W&B: to upload what a server missed: wandb sync --include-online {' '.join(paths)}"
    if not run.offline:
        return f"W&B: {run.url}"
    because = f" ({reason})" if reason else ""
    return f"W&B: offline{because}; to browse: wandb leet {where}; to upload: wandb sync {where}"
