"""What conf/config.yaml asks of the code: `${run_folder:}` and `${job_log_handlers:...}`."""

from omegaconf import DictConfig

from arcmargin.job import schema
from arcmargin.job.hydra_versions import register_resolver
from arcmargin.job.identity import folder_name


def register() -> None:
    """Makes them and the schema known, in the main process and in each worker."""
    schema.store()
    register_resolver("run_folder", _run_folder)
    register_resolver("job_log_handlers", _job_log_handlers)


def _run_folder(*, _root_: DictConfig) -> str:
    return folder_name(_root_, _root_.hydra.runtime.choices.header)


def _job_log_handlers(mode: object) -> list[str]:
    """A job of a multirun speaks to its own log alone: several at once would garble the terminal."""
    return ["file"] if str(mode).endswith("MULTIRUN") else ["console", "file"]
