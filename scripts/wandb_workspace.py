"""A saved W&B workspace and a W&B report for a project, or for one sweep of it.

    pip install 'arcmargin[workspace]'
    python scripts/wandb_workspace.py ENTITY/PROJECT [--sweep NAME] [--dry-run]

--dry-run prints what it would create and needs no network.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import wandb

from arcmargin.metrics.table import metric

try:
    import wandb_workspaces.expr as expr
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
except ImportError:
    sys.exit("this script needs wandb-workspaces: pip install 'arcmargin[workspace]'")

MARGINS = ("m1", "m2", "m3")
METRICS = {f"test/{name}": metric(name).title for name in ("accuracy", "gap_mean_deg")}
CURVES = ("train/loss", "val/accuracy", "val/gap_mean_deg", "val/margin_p05_deg")
TRAINING = ("train/learning_rate", "train/gradient_norm", "train/images_per_s")
COLUMNS = [
    *("run:displayName", "run:state", "config:header.name", "config:dataset.name"),
    *("config:m1", "config:m2", "config:m3", "config:s", "config:seed"),
    *("summary:test/accuracy", "summary:test/gap_mean_deg", "summary:test/gap_predicted_deg"),
]


def embeddings() -> list[Any]:
    """The grid of figures with its slider over the epochs, and the plots to turn."""
    return [
        wr.MediaBrowser(title="embeddings", media_keys=["test/embedding"], num_columns=4),
        wr.MediaBrowser(title="to turn", media_keys=["test/plot"], num_columns=3),
        wr.MediaBrowser(title="angles", media_keys=["test/angles"], num_columns=3),
    ]


def margins() -> list[Any]:
    """Parallel coordinates, and each metric against each margin: every head has one of its own."""
    columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(name)) for name in (*MARGINS, "s")]
    columns += [
        wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(name), display_name=title)
        for name, title in METRICS.items()
    ]
    panels: list[Any] = [wr.ParallelCoordinatesPlot(columns=columns, layout=wr.Layout(0, 0, 24, 9))]
    for row, (measured, title) in enumerate(METRICS.items()):
        panels += [
            wr.ScatterPlot(
                title=f"{title} against {margin}",
                x=wr.Config(margin),
                y=wr.SummaryMetric(measured),
                legend_template="${config:header.name} ${run:displayName}",
                layout=wr.Layout(8 * column, 9 + 7 * row, 8, 7),
            )
            for column, margin in enumerate(MARGINS)
        ]
    return panels


def headers() -> list[Any]:
    """Mean and spread over seeds and settings, header by header."""
    return [
        wr.BarPlot(
            title=f"{title} by header",
            metrics=[metric],
            groupby=wr.Config("header.name"),
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
        )
        for metric, title in METRICS.items()
    ]


def curves(names: Sequence[str]) -> list[Any]:
    return [wr.LinePlot(title=name, x="epoch", y=[name]) for name in names]


def workspace(entity: str, project: str, sweep: str | None) -> Any:
    sections = {
        "Embeddings": embeddings(),
        "Margins": margins(),
        "Headers": headers(),
        "Curves": curves(CURVES),
        "Training": curves(TRAINING),
    }
    opened = ("Embeddings", "Margins", "Headers")
    filters = [expr.Metric("JobType") == "train"]
    if sweep:
        filters.append(expr.Metric("Group") == sweep)
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"arcmargin: {sweep or 'all sweeps'}",
        sections=[
            ws.Section(name=name, panels=panels, is_open=name in opened)
            for name, panels in sections.items()
        ],
        settings=ws.WorkspaceSettings(x_axis="epoch"),
        runset_settings=ws.RunsetSettings(filters=filters, pinned_columns=COLUMNS),
    )


def report(entity: str, project: str, sweep: str | None) -> Any:
    condition = "JobType = 'train'" + (f" and Group = '{sweep}'" if sweep else "")
    runs = {"entity": entity, "project": project}
    blocks = [
        wr.TableOfContents(),
        wr.H1("Embeddings"),
        wr.P("Test embeddings through the epochs; the slider moves all runs together."),
        wr.PanelGrid(runsets=[wr.Runset(**runs, filters=condition)], panels=embeddings()),
        wr.H1("Margins"),
        wr.P("The measured gap against each head's own margin, beside what it costs in accuracy."),
        wr.PanelGrid(runsets=[wr.Runset(**runs, filters=condition)], panels=margins()),
        wr.H1("Headers"),
        wr.PanelGrid(runsets=[wr.Runset(**runs, filters=condition)], panels=headers()),
        wr.H1("Curves"),
        wr.PanelGrid(runsets=[wr.Runset(**runs, filters=condition)], panels=curves(CURVES)),
    ]
    title = f"Margin heads: {sweep or project}"
    return wr.Report(**runs, title=title, blocks=blocks, width="fluid")


def describe(view: Any, page: Any) -> str:
    lines = [f"workspace '{view.name}' in {view.entity}/{view.project}"]
    lines.append(f"  run table: {', '.join(view.runset_settings.pinned_columns)}")
    for section in view.sections:
        lines.append(f"  {section.name}")
        lines += [f"    {_panel(panel)}" for panel in section.panels]
    lines.append(f"report '{page.title}' in {page.entity}/{page.project}")
    for block in page.blocks:
        if isinstance(block, wr.H1):
            lines.append(f"  {block.text}")
        elif isinstance(block, wr.PanelGrid):
            lines += [f"    {_panel(panel)}" for panel in block.panels]
    return "\n".join(lines)


def _panel(panel: Any) -> str:
    if isinstance(panel, wr.ParallelCoordinatesPlot):
        names = [column.display_name or column.metric.name for column in panel.columns]
        return f"ParallelCoordinatesPlot: {', '.join(names)}"
    return f"{type(panel).__name__}: {panel.title}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="A W&B workspace and report for margin heads.")
    parser.add_argument("project", metavar="ENTITY/PROJECT")
    parser.add_argument("--sweep", help="only the runs of this sweep (the W&B group)")
    parser.add_argument("--dry-run", action="store_true", help="print, create nothing")
    args = parser.parse_args(argv)
    entity, _, project = args.project.partition("/")
    if not entity or not project:
        parser.error(f"expected ENTITY/PROJECT, got {args.project!r}")
    view = workspace(entity, project, args.sweep)
    page = report(entity, project, args.sweep)
    if args.dry_run:
        print(describe(view, page))
        return 0
    try:
        view.save()
        page.save()
    except (ValueError, wandb.Error) as error:
        print(f"error: W&B did not take it: {error}", file=sys.stderr)
        return 1
    print(f"workspace: {view.url}\nreport: {page.url}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
