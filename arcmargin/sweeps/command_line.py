"""The command line's own shorthands, put into Hydra's words before Hydra reads them."""

import re
from collections.abc import Sequence

from arcmargin.errors import UserError
from arcmargin.sweeps.extras import check_extra


def expanded(arguments: Sequence[str]) -> list[str]:
    """`embedding_dim=7` means what it says; `seeds=3` is a multirun over seed=0,1,2.

    Raises UserError for a count of seeds that is none, or a missing extra.
    """
    return _seeds([_optuna(_embedding_size(argument)) for argument in arguments])


def _optuna(argument: str) -> str:
    """Our settings of the plugin cannot have its own name."""
    if argument != "hydra/sweeper=optuna":
        return argument
    check_extra("sweeper", "hydra_optuna_sweeper")
    return "hydra/sweeper=search"


def _embedding_size(argument: str) -> str:
    """Hydra wants the name of an option there."""
    return re.sub(r"^embedding_dim=(\d+(,\d+)*)$", r"embedding_dim.size=\1", argument)


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
