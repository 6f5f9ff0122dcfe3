"""Which code a W&B run was made with."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SOURCE_TREE = Path(__file__).resolve().parents[2]


def version(config: Mapping[str, Any]) -> dict[str, Any]:
    """wandb.Settings for W&B's own fields of the commit and its repository: ours where arcmargin runs
    from its source tree, otherwise what W&B finds where the command was given."""
    commit = config.get("git_commit")
    if commit is None:
        return {}
    return {"git_commit": commit.removesuffix("-dirty"), "git_root": str(SOURCE_TREE)}


def upload(run: Any) -> None:
    """The modules that were imported from the working directory, such as a user's own head; what is
    installed is known by its version."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    run.log_code(
        name=f"source-{run.project}",
        include_fn=lambda path: path in files and "site-packages" not in Path(path).parts,
    )
