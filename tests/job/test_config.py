"""Every file in conf/ composes and builds what it promises."""

import functools
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import OmegaConf

from arcmargin.job.build import build_backbone
from arcmargin.job.hydra_versions import version_base
from arcmargin.job.schema import CONF, store


def options(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def composed(*overrides):
    GlobalHydra.instance().clear()
    store()
    with initialize_config_dir(str(CONF), **version_base()):
        return compose("config", overrides=list(overrides))


GROUPS = [path.name for path in CONF.iterdir() if path.is_dir()]
ALL = [(group, name) for group in sorted(GROUPS) for name in options(group)]
OUTSIDE_DEFAULTS = ("experiment", "debug", "study")


@pytest.mark.parametrize(("group", "name"), ALL)
def test_every_option_composes_and_resolves(group, name):
    plus = "+" if group in OUTSIDE_DEFAULTS else ""
    extra = ["dataset.path=images"] if name == "folder" else []
    cfg = composed(f"{plus}{group}={name}", *extra)
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


@functools.cache
def backbone(name, shape):
    return build_backbone(composed(f"backbone={name}").backbone, shape, 16)


@pytest.mark.parametrize("name", options("header"))
def test_every_header_builds_and_trains_a_step(name):
    cfg = composed(f"header={name}")
    header = instantiate(cfg.header, embedding_dim=16, num_classes=10, _convert_="all")
    torch.manual_seed(0)
    embeddings, labels = torch.randn(32, 16, requires_grad=True), torch.arange(32) % 10
    header.set_progress(0.5)
    header.loss(embeddings, labels).backward()
    assert embeddings.grad.isfinite().all() and embeddings.grad.abs().sum() > 0
    assert header.logits(embeddings).shape == (32, 10)
    assert header.directions.shape == (10, 16)


@pytest.mark.parametrize("name", options("backbone"))
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_every_backbone_builds(name, shape):
    assert backbone(name, shape).eval()(torch.zeros(2, *shape)).shape == (2, 16)


@pytest.mark.parametrize("name", options("optimizer"))
@pytest.mark.parametrize("schedule", options("schedule"))
def test_every_optimizer_and_schedule_build_together(name, schedule):
    cfg = composed(f"optimizer={name}", f"schedule={schedule}")
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "weight_decay": 0.0}]
    optimizer = instantiate(cfg.optimizer)(groups)
    instantiate(cfg.schedule)(optimizer, 10)
    assert optimizer.param_groups[0]["lr"] <= cfg.optimizer.lr


@pytest.mark.parametrize("name", options("augment"))
def test_every_augmentation_keeps_the_shape(name):
    images = torch.randn(4, 1, 8, 8)
    assert instantiate(composed(f"augment={name}").augment)(images).shape == images.shape


@pytest.mark.parametrize("name", [n for n in options("trainer") if n != "gpu"])
def test_every_trainer_builds(name, tmp_path):
    made = instantiate(composed(f"trainer={name}").trainer)(logger=False, default_root_dir=tmp_path)
    assert isinstance(made, pl.Trainer)


@pytest.mark.parametrize(("name", "size"), [("2d", 2), ("3d", 3), ("16d", 16), ("512d", 512)])
def test_embedding_dimensions(name, size):
    assert composed(f"embedding_dim={name}").embedding_dim.size == size


def test_a_margin_on_the_command_line_wins_for_every_header_that_takes_it():
    for name in options("header"):
        cfg = composed(f"header={name}", "m2=0.123")
        assert cfg.m2 == 0.123
        if "m2" in cfg.header:
            assert cfg.header.m2 == 0.123


def test_the_whole_configuration_fits_on_a_screen():
    assert len(OmegaConf.to_yaml(composed()).splitlines()) <= 115


def test_a_wheel_and_a_source_tree_share_one_configuration():
    assert Path(CONF).name == "conf" and (CONF / "config.yaml").is_file()
