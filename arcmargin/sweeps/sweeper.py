"""The sweepers of a multirun: which jobs there are. A launcher runs them, and sees to it that none runs
twice."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from arcmargin.errors import UserError
from arcmargin.sweeps import axes
from arcmargin.sweeps.axes import Axis
from arcmargin.sweeps.command_line import refuse_mistake
from arcmargin.sweeps.launcher import SweepLauncher

MULTIRUN_FILE = "multirun.yaml"


class Planned(NamedTuple):
    """A job as it would run."""

    label: str  # what distinguishes it from the others
    overrides: list[str]
    config: DictConfig
    folder: Path


class JobSweeper(Sweeper):
    """Composes the jobs, lists them where the user only asks, and hands them to the launcher."""

    def __init__(self, params: Mapping[str, Any] | None = None, dry_run: bool = False) -> None:
        self.params = params
        self.dry_run = dry_run
        self.launcher: Launcher | None = None
        self._launched = 0

    def setup(self, **context: Any) -> None:
        self.context = context
        self.config: DictConfig = context["config"]
        self.hydra_context = context["hydra_context"]
        self.loader = self.hydra_context.config_loader
        self.folder = Path(self.config.hydra.sweep.dir)

    def sweep(self, arguments: list[str]) -> Any:
        try:
            found = axes.axes(arguments, params=self.params, loader=self.loader)
            return self.run(found)
        except (UserError, HydraException) as error:
            refuse_mistake(error)
            raise
        finally:
            if isinstance(self.launcher, SweepLauncher):
                self.launcher.close()

    @abstractmethod
    def run(self, found: Sequence[Axis]) -> Any:
        """Has all jobs run, or prints which they would be."""

    def plan(self, overrides: Sequence[str], label: str) -> Planned:
        """Raises Hydra's errors for overrides that make no configuration."""
        config = self.loader.load_sweep_config(self.config, list(overrides))
        folder = Path(config.hydra.sweep.dir) / config.hydra.sweep.subdir
        return Planned(label, list(overrides), config, folder)

    def plan_all(self, jobs: Iterable[tuple[Sequence[str], str]]) -> list[Planned]:
        """Of overrides and label of each. Hydra composes a hundred in 10 to 20 seconds."""
        shown = tqdm(list(jobs), "planning", unit="job", delay=2, leave=False, disable=None)
        return [self.plan(overrides, label) for overrides, label in shown]

    def launch(self, plans: Sequence[Planned]) -> Sequence[JobReturn]:
        """Runs the jobs, as many at once as the launcher does. Raises what a job did not catch."""
        if self.launcher is None:  # a sweep that is only listed starts nothing and writes nothing
            self.folder.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(self.config, self.folder / MULTIRUN_FILE)
            self.launcher = Plugins.instance().instantiate_launcher(**self.context)
        if isinstance(self.launcher, SweepLauncher):
            composed = [(plan.overrides, plan.config) for plan in plans]
            returned = self.launcher.launch_composed(composed, self._launched)
        else:
            returned = self.launcher.launch([plan.overrides for plan in plans], self._launched)
        self._launched += len(plans)
        for one in returned:
            _ = one.return_value  # Hydra keeps an exception there
        return returned


class GridSweeper(JobSweeper):
    """hydra/sweeper=grid, the default: every combination."""

    def run(self, found: Sequence[Axis]) -> Any:
        labels = axes.jobs(axis for axis in found if axis.varies)
        # An unknown key is said here, before anything is written.
        named = zip(axes.jobs(found), map(" ".join, labels), strict=True)
        plans = self.plan_all(named)
        if not self.dry_run:
            return [self.launch(plans)]
        from arcmargin.sweeps.listing import listing

        print(listing(plans))
        return None


class SearchSweeper(JobSweeper):
    """hydra/sweeper=optuna: what a search asks for."""

    def __init__(
        self,
        params: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        trial: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(params, dry_run)
        self.settings = settings

    def run(self, found: Sequence[Axis]) -> Any:
        with _optuna_needed("hydra/sweeper=optuna"):
            from arcmargin.sweeps.search_sweep import run_search
        run_search(self, found, self.settings)


class StudySweeper(SearchSweeper):
    """+study=fair: a search for each header, then fresh seeds of what each chose."""

    def run(self, found: Sequence[Axis]) -> Any:
        with _optuna_needed("+study=fair"):
            from arcmargin.sweeps.study import run_study
        run_study(self, found, self.settings)


@contextmanager
def _optuna_needed(what: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        if error.name and error.name.startswith("optuna"):
            raise UserError(
                f"{what} needs Optuna 4 or later: pip install -U 'arcmargin[optuna]'"
            ) from error
        raise
