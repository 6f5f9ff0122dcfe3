"""What Hydra 1.4 (with OmegaConf 2.4) is told otherwise than Hydra 1.3.

Hydra 1.4 calls only those `_target_`s of a configuration that the program lists. Ours are listed here,
and so is what lies in the folder that the command runs from. ARCMARGIN_TARGETS adds further ones:

    ARCMARGIN_TARGETS=timm.create_model,my_package.*
"""

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from omegaconf import OmegaConf

NEW = "execution_whitelist" in inspect.signature(hydra.main).parameters
TARGETS = (
    "arcmargin.*",
    "hydra_plugins.arcmargin_launchers.*",
    "hydra_plugins.arcmargin_sweepers.*",
    "pytorch_lightning.Trainer",
    "torch.nn.*",
    "torch.optim.*",
    "torchvision.transforms.*",
)


def main_arguments() -> dict[str, Any]:
    """For hydra.main."""
    return {"execution_whitelist": targets()} if NEW else version_base()


def version_base() -> dict[str, str]:
    """For whatever takes a version_base, which Hydra 1.3 asks for and 1.4 warns of."""
    return {} if NEW else {"version_base": "1.3"}


def register_resolver(name: str, resolver: Callable[..., Any]) -> None:
    """Replaces one of the same name."""
    # Until 2.4 register_resolver was the name of something older.
    register: Any = OmegaConf.register_resolver if NEW else OmegaConf.register_new_resolver
    register(name, resolver, replace=True)


def targets() -> list[str]:
    """What a configuration may call."""
    here = Path.cwd()
    own = [path.stem for path in here.glob("*.py")]
    own += [path.parent.name for path in here.glob("*/__init__.py")]
    further = os.environ.get("ARCMARGIN_TARGETS", "").split(",")
    return [
        *TARGETS,
        *(f"{name}.*" for name in sorted(own)),
        *filter(None, map(str.strip, further)),
    ]
