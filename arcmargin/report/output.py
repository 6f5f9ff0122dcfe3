"""A report's folder: what a report wrote there, the next one may replace or delete, and nothing else."""

from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path

from matplotlib.figure import Figure

from arcmargin.errors import UserError
from arcmargin.files import write_atomically
from arcmargin.report.figures import save, save_pdf

FILES_WRITTEN = ".report_files"  # the names of the files that reports wrote into this folder

Content = str | Figure | Sequence[Figure]  # several figures: the pages of a PDF


def write_files(contents: Mapping[str, Content], folder: Path) -> list[Path]:
    """Write each content under its name, then delete what only an earlier report wrote. Raises
    UserError, before anything is written, where a file of the user's has one of the names."""
    before = _written(folder)
    for name in contents:
        if name not in before and (folder / name).exists():
            raise UserError(
                f"{folder / name} is there already and no report wrote it: move it away, or choose "
                "another folder with --out"
            )
    _remember(folder, before | contents.keys())  # a report that is cut off leaves nothing unknown
    paths = [_write(content, folder / name) for name, content in contents.items()]
    for name in before - contents.keys():
        with suppress(OSError):
            (folder / name).unlink()
            (folder / name).parent.rmdir()  # where it was the last one in a folder of its own
    _remember(folder, contents.keys())
    return paths


def _write(content: Content, path: Path) -> Path:
    if isinstance(content, str):
        return write_atomically(path, lambda file: file.write(content.encode()), flush=False)
    return save(content, path) if isinstance(content, Figure) else save_pdf(content, path)


def _written(folder: Path) -> set[str]:
    try:
        lines = (folder / FILES_WRITTEN).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return set()
    return {
        line
        for line in lines
        if line and ".." not in (path := Path(line)).parts and not path.is_absolute()
    }


def _remember(folder: Path, names: Set[str]) -> None:
    text = "".join(f"{name}\n" for name in sorted(names))
    write_atomically(folder / FILES_WRITTEN, lambda file: file.write(text.encode()), flush=False)
