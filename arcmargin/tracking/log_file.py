"""What a job of a sweep prints goes to a file of its own; W&B gets it from there."""

from pathlib import Path


class LogFile:
    """Reads what is written to a file from now on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = path.stat().st_size if path.exists() else 0

    def new_lines(self) -> str:
        """Whole lines since the last time; empty where there are none."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._read)
                content = file.read()
        except OSError:
            return ""
        content = content[: content.rfind(b"\n") + 1]
        self._read += len(content)
        return content.decode(errors="replace")
