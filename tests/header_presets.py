"""The heads of conf/header, built as a run builds them."""

import functools

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from arcmargin.headers import Header
from arcmargin.job.schema import CONF, store

PRESETS = sorted(path.stem for path in (CONF / "header").glob("*.yaml"))
# Without what a run adds to a head by default: random directions, and the full margin at once.
PLAIN = {"init": "random", "ramp": 0.0}
D, C = 5, 7


@functools.cache
def composed(preset: str) -> DictConfig:
    """The whole configuration of a run with this header."""
    GlobalHydra.instance().clear()
    store()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [f"header={preset}"])


def build(
    preset: str, embedding_dim: int = D, num_classes: int = C, *, seed: int = 0, **keys: object
) -> Header:
    """The head of a YAML, with top-level keys as the command line would set them."""
    cfg = OmegaConf.merge(composed(preset), PLAIN | keys)
    torch.manual_seed(seed)
    return instantiate(
        cfg.header, embedding_dim=embedding_dim, num_classes=num_classes, _convert_="all"
    )
