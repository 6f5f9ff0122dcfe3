"""The command line: its shorthands, in Hydra's words, and what is wrong with it, in one sentence."""

import argparse
import difflib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from arcmargin.errors import UserError
from arcmargin.files import import_from_here
from arcmargin.job import schema
from arcmargin.job.hydra_versions import version_base
from arcmargin.job.user_errors import sentence, users_mistake
from arcmargin.sweeps.axes import quoted

# Our presets cannot have the names of Hydra's own plugins, which declare what theirs may hold.
PRESETS = {
    "hydra/launcher=joblib": "hydra/launcher=sweep_processes",
    "hydra/launcher=ray": "hydra/launcher=sweep_ray",
    "hydra/launcher=submitit_local": "hydra/launcher=sweep_local",
    "hydra/launcher=submitit_slurm": "hydra/launcher=sweep_slurm",
    "hydra/sweeper=optuna": "hydra/sweeper=search",
}

_HELP = {"--help", "-h"}


def refuse(error: BaseException) -> NoReturn:
    """The user's mistake in one sentence, and exit code 2."""
    print(f"arcmargin: {sentence(error)}", file=sys.stderr)
    raise SystemExit(2) from error


def refuse_mistake(error: BaseException | None) -> None:
    """Ends the process when the error is the user's to mend; HYDRA_FULL_ERROR=1 asks for tracebacks."""
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    if error is not None and users_mistake(error) is not None and not full:
        refuse(error)


def prepare(arguments: Sequence[str], conf: Path) -> list[str]:
    """The command line in Hydra's words, checked against the configuration in `conf`; what that names
    can be imported from the current folder. --help is answered at once.

    Raises UserError, or Hydra's own error, for what cannot be meant.
    """
    import_from_here()
    arguments = expanded(arguments)
    options, overrides = _split([one for one in arguments if one not in _HELP])
    if options is not None:
        config, folder = _checked(overrides, options, conf)
        if _HELP & set(arguments):  # Hydra would list all its groups twice before
            print(config.hydra.help.template)
            raise SystemExit(0)
        _check_folder(folder)
    return arguments


def expanded(arguments: Sequence[str]) -> list[str]:
    """`embedding_dim=7` means what it says; `seeds=3` is a multirun over seed=0,1,2, `+study=fair` one
    too; `zip(...)` is one of the sweeper's parameters, `--list` its dry run; `--help keys` shows another
    page than --help.

    Raises UserError for a count of seeds that is none, a zip without an end, a list of no sweep.
    """
    arguments = [_embedding_size(PRESETS.get(one, _quoted_sweep(one))) for one in arguments]
    if _HELP & set(arguments):
        arguments = ["hydra/help=keys" if one == "keys" else one for one in arguments]
    return _list(quoted(_seeds(_study(arguments))))


def _embedding_size(argument: str) -> str:
    """Hydra wants the name of an option there."""
    size = r"(^|[(;]\s*)embedding_dim=(\d+(?:,\d+)*)(?=\s*(?:[;)]|$))"
    return re.sub(size, r"\1embedding_dim.size=\2", argument)


def _list(arguments: list[str]) -> list[str]:
    if "--list" not in arguments:
        return arguments
    if not {"-m", "--multirun"} & set(arguments):
        raise UserError("--list shows the jobs of a sweep: give it with --multirun, or seeds=3")
    return ["hydra.sweeper.dry_run=true" if one == "--list" else one for one in arguments]


def _quoted_sweep(argument: str) -> str:
    """Hydra reads letters beyond ASCII in quotes only."""
    return (
        argument if argument.isascii() else re.sub(r"^sweep=(\w[\w.-]*)$", r"sweep='\1'", argument)
    )


def _study(arguments: list[str]) -> list[str]:
    """It is a multirun in any case."""
    study = any(one.startswith("+study=") for one in arguments)
    multirun = {"-m", "--multirun"} & set(arguments)
    return ["--multirun", *arguments] if study and not multirun else arguments


def _seeds(arguments: list[str]) -> list[str]:
    given = next((one for one in arguments if re.match(r"\+*seeds=", one)), None)
    if given is None:
        return arguments
    count = given.partition("=")[2]
    if not re.fullmatch(r"[1-9]\d*", count):
        raise UserError(
            f"seeds must be a whole number from 1 on, got '{count}'; seeds=3 runs seed=0,1,2, "
            "and seed=4,7 chooses them"
        )
    listed = [one for one in arguments if re.match(r"\+*seed=", one)]
    if listed:
        raise UserError(f"{given} chooses the seeds, so {listed[0]} cannot be given too; drop one")
    multirun = [] if {"-m", "--multirun"} & set(arguments) else ["--multirun"]
    return multirun + [f"seed=range({count})" if one == given else one for one in arguments]


def _split(arguments: Sequence[str]) -> tuple[argparse.Namespace | None, list[str]]:
    """Hydra's options and the rest; no options where something else than a run is asked for."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--run", "-r", action="store_true")
    parser.add_argument("--config-name", "-cn", default="config")
    parser.add_argument("--config-dir", "-cd")
    try:
        options, others = parser.parse_known_intermixed_args(list(arguments))
    except argparse.ArgumentError:  # Hydra will say it itself
        return None, []
    return (None if others else options), options.overrides


def _checked(
    arguments: Sequence[str], options: argparse.Namespace, conf: Path
) -> tuple[DictConfig, Path]:
    """The configuration, and the folder that will hold the result."""
    folders = [conf]
    further = []
    if options.config_dir is not None:
        folders.append(Path(options.config_dir).absolute())
        if not folders[-1].is_dir():
            raise UserError(f"--config-dir {options.config_dir} is not a folder")
        further = [f"hydra.searchpath=[file://{folders[-1]}]"]
    with initialize_config_dir(str(conf), job_name="run", **version_base()):
        loader = GlobalHydra.instance().config_loader()
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(arguments))
        multirun = options.multirun or "hydra.mode=MULTIRUN" in arguments
        config = _composed(options.config_name, further, overrides, folders, multirun)
    _check_sweep_name(config.sweep, overrides)
    schema.check(config)
    kind = config.hydra.sweep if multirun else config.hydra.run
    return config, Path(kind.dir)


def _check_option_name(override: Override) -> None:
    value = override.value()
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) for name in names):
        given = "null" if value is None else value
        raise UserError(
            f"{override.key_or_group} takes the name of an option, got {given}; --help lists them"
        )


def _composed(
    name: str,
    further: list[str],
    overrides: Sequence[Override],
    folders: Sequence[Path],
    multirun: bool,
) -> DictConfig:
    """What the command line comes to, of a multirun one of its jobs."""

    def is_group(override: Override) -> bool:
        return any((folder / override.key_or_group).is_dir() for folder in folders)

    for one in overrides:
        if is_group(one) and not (one.is_delete() or one.is_sweep_override()):
            _check_option_name(one)
    lines = {id(one): _first_value(one) if multirun else str(one.input_line) for one in overrides}
    added = [
        one
        for one in overrides
        if (one.is_add() or one.is_force_add())
        and not is_group(one)
        and not one.is_hydra_override()
    ]
    try:
        rest = [lines[id(one)] for one in overrides if one not in added]
        config = compose(name, [*further, *rest], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException):
        groups = [lines[id(one)] for one in overrides if is_group(one)]
        config = compose(name, [*further, *groups], return_hydra_config=True)
        for one in overrides:
            if one not in added and not is_group(one) and not one.is_hydra_override():
                _check_known(one.key_or_group, config, folders)
        raise
    for one in added:
        group = OmegaConf.select(config, one.key_or_group.partition(".")[0])
        if (
            "." not in one.key_or_group
            or not isinstance(group, DictConfig)
            or "_target_" not in group
        ):
            _check_known(one.key_or_group, config, folders)  # what has a _target_ checks it itself
    if not added:
        return config
    return compose(name, [*further, *lines.values()], return_hydra_config=True)


def _first_value(override: Override) -> str:
    """One job's part of what may vary."""
    if not override.is_sweep_override():
        return str(override.input_line)
    sweep: Any = override.value()
    values = (
        override.sweep_string_iterator() if override.is_discrete_sweep() else iter([sweep.start])
    )
    value = next(values, None)
    if value is None:
        raise UserError(f"{override.input_line}: nothing matches, so there is nothing to run")
    return f"{override.get_key_element()}={value}"


def _check_known(key: str, config: DictConfig, folders: Sequence[Path]) -> None:
    """Raises UserError, with the nearest name, unless the key names a setting or a group."""
    names = [*_settings(OmegaConf.to_container(config))]
    names += [one.name for folder in folders for one in folder.iterdir() if one.is_dir()]
    if key in names:
        return
    last = {name: name.rpartition(".")[2] for name in names}
    near = [name for name in names if last[name] == key.rpartition(".")[2]]
    near += difflib.get_close_matches(key, names)
    close = difflib.get_close_matches(key.rpartition(".")[2], set(last.values()))
    near += [name for match in close for name in names if last[name] == match]
    hint = f"did you mean {near[0]}?" if near else "--help keys lists them"
    raise UserError(f"there is no setting {key}; {hint}")


def _settings(config: Any, prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        if key != "hydra":
            yield f"{prefix}{key}"
            if isinstance(value, Mapping):
                yield from _settings(value, f"{prefix}{key}.")


def _check_sweep_name(name: str, overrides: Sequence[Override]) -> None:
    listed = [
        o.get_value_string()
        for o in overrides
        if o.key_or_group == "sweep" and o.is_sweep_override()
    ]
    if listed or not re.fullmatch(r"\w[\w .+=@-]*", name):
        raise UserError(
            f"sweep={listed[0] if listed else name}: it names one folder in outputs/sweeps, so it "
            "begins with a letter or a digit and has no slash or comma"
        )


def _check_folder(folder: Path) -> None:
    """Before anything is done for the sake of a result that could not be kept."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        Path(tempfile.mkdtemp(dir=there)).rmdir()
    except OSError as error:
        why = error.strerror or error
        raise UserError(
            f"cannot write the output in {folder} ({there}: {why}); free some space or choose another "
            "folder"
        ) from error
