"""The heads of conf/header, built as a run builds them."""

from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from arcmargin.headers import Header

CONF = Path(__file__).parents[1] / "conf" / "header"
PRESETS = sorted(path.stem for path in CONF.glob("*.yaml"))
D, C = 5, 7


def build(
    preset: str, embedding_dim: int = D, num_classes: int = C, *, seed: int = 0, **keys: object
) -> Header:
    """The head of a YAML, with the top-level keys of the run's configuration beside it."""
    run = {"gradient": "detached", "ramp": 0.0, "init": "random"}
    run |= {"class_chunk": None, "sample_rate": 1.0}
    cfg = OmegaConf.merge(run, OmegaConf.load(CONF / f"{preset}.yaml"), keys)
    torch.manual_seed(seed)
    return instantiate(
        cfg.header, embedding_dim=embedding_dim, num_classes=num_classes, _convert_="all"
    )
