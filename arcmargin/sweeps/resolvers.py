"""What the configuration asks of the code: the name of a job's folder, where a job's log goes, and the
words of --help."""

from omegaconf import DictConfig

from arcmargin.job import schema
from arcmargin.job.hydra_versions import register_resolver
from arcmargin.job.identity import folder_name
from arcmargin.sweeps import help


def register() -> None:
    """Makes them and the schema known, in the main process and in each worker."""
    schema.store()
    register_resolver("run_folder", _run_folder)
    register_resolver("job_log_handlers", _job_log_handlers)
    register_resolver("help_groups", help.groups)
    register_resolver("help_keys", help.keys)


def _run_folder(*, _root_: DictConfig) -> str:
    return folder_name(_root_, _root_.hydra.runtime.choices.header)


def _job_log_handlers(mode: object) -> list[str]:
    """A job of a multirun speaks to its own log alone: several at once would garble the terminal."""
    return ["file"] if str(mode).endswith("MULTIRUN") else ["console", "file"]
