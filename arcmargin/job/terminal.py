"""What a person reads at the end of a run."""

from arcmargin.metrics.table import VALIDATION_CLASSES, metric
from arcmargin.record import Result


def result_table(result: Result) -> str:
    """The result in a few lines."""
    settings = result.settings
    where = f"{settings.dataset}, {settings.embedding_dim}-D, seed {settings.seed}"
    where += "" if settings.s is None else f", s={settings.s:g}"
    lines = [f"{settings.name} on {where}: test split"]
    for name, value in result.metrics.items():
        if value is not None and name not in result.intervals:
            known = metric(name)
            lines.append(f"  {known.title:<22}{known.shown(value):>10} {known.unit}")
    return "\n".join([*lines, *_validation_lines(result), *_unseen_lines(result)])


def _validation_lines(result: Result) -> list[str]:
    """Of classes that are neither trained on nor tested."""
    found = {k: v for k, v in result.validation.items() if k.startswith(VALIDATION_CLASSES)}
    if not found:
        return []
    lines = [
        f"{len(result.settings.validation_classes)} validation classes, to choose settings by:"
    ]
    for name, value in found.items():
        known = metric(name.removeprefix(VALIDATION_CLASSES))
        if value is not None:
            lines.append(f"  {known.title:<34}{known.shown(value):>6} {known.unit}")
    return lines


def _unseen_lines(result: Result) -> list[str]:
    about = result.open_set
    if about is None:
        return []
    lines = [f"unseen classes, {about.images:,} images, 95 % intervals ({about.how}):"]
    for name, (low, high) in result.intervals.items():
        known, value = metric(name), result.metrics[name]
        if value is not None:
            shown = [known.shown(part) for part in (value, low, high)]
            lines.append(f"  {known.title:<34}{shown[0]:>6} %   {shown[1]:>6} to {shown[2]:>6}")
    return lines
