"""Hydra plugins that are not installed with the package, and the extra that brings each."""

import importlib.util

from arcmargin.errors import UserError

EXTRAS = {
    "hydra_ray_launcher": "ray",
    "hydra_submitit_launcher": "submitit",
    "hydra_optuna_sweeper": "optuna",
}


def check_extra(part: str, target: str) -> None:
    """Raises UserError when the plugin that `target` names is not installed."""
    for package, extra in EXTRAS.items():
        if package in target and importlib.util.find_spec(f"hydra_plugins.{package}") is None:
            raise UserError(
                f"this hydra/{part} needs the extra '{extra}': pip install 'arcmargin[{extra}]'"
            )
