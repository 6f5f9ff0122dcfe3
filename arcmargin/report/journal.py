"""The trials of a search as a file, which Optuna's own tools read as well."""

import os
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from arcmargin.errors import UserError

optuna.logging.set_verbosity(optuna.logging.WARNING)


def load(path: Path) -> list[optuna.Study]:
    """The studies in a journal, in memory; none without one. Raises UserError for another file."""
    if not path.exists():
        return []
    try:
        storage = JournalStorage(JournalFileBackend(str(path)))
        names = optuna.get_all_study_names(storage)
        return [_copy(optuna.load_study(study_name=name, storage=storage)) for name in names]
    except Exception as error:  # whatever Optuna meets in it
        raise UserError(
            f"{path} cannot be read as a study ({type(error).__name__}: {error}); delete it: the "
            "search then begins anew and finds the jobs that are finished"
        ) from error


def save(studies: Sequence[optuna.Study], path: Path) -> None:
    """All of them beside the old file, which is then replaced: readers see the one or the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)  # of a process that was killed
    try:
        storage = JournalStorage(JournalFileBackend(str(temporary)))
        for study in studies:
            _copy(study, storage)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _copy(study: optuna.Study, storage: JournalStorage | None = None) -> optuna.Study:
    copy = optuna.create_study(
        study_name=study.study_name, storage=storage, direction=study.direction
    )
    for name, value in study.user_attrs.items():
        copy.set_user_attr(name, value)
    copy.add_trials(study.trials)
    return copy
