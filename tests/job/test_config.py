"""Every file in conf/ composes and builds what it promises."""

import copy
import functools
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import OmegaConf, open_dict

from arcmargin.run import CONF
from arcmargin.sweeps.callback import fingerprint


def options(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def composed(*overrides):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides))


GROUPS = [path.name for path in CONF.iterdir() if path.is_dir()]
ALL = [(group, name) for group in sorted(GROUPS) for name in options(group)]
OUTSIDE_DEFAULTS = ("experiment", "debug")


@pytest.mark.parametrize(("group", "name"), ALL)
def test_every_option_composes_and_resolves(group, name):
    plus = "+" if group in OUTSIDE_DEFAULTS else ""
    extra = ["dataset.path=images"] if name == "folder" else []
    cfg = composed(f"{plus}{group}={name}", *extra)
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


@functools.cache
def backbone(name, shape):
    return instantiate(composed(f"backbone={name}").backbone, image_shape=shape, embedding_dim=16)


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


@pytest.mark.parametrize("name", options("header"))
def test_every_header_states_all_margins_and_takes_only_top_level_keys(name):
    text = (CONF / "header" / f"{name}.yaml").read_text()
    own = OmegaConf.load(CONF / "header" / f"{name}.yaml")
    assert text.startswith("# @package _global_\n#"), "every header file cites its source"
    assert {"m1", "m2", "m3", "s", "header"} <= set(own)
    assert own.get("matched") is None or own.matched in own.header


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


def test_the_sweep_of_the_readme_is_six_different_runs():
    prints = {
        fingerprint(composed(f"header={header}", f"m2={m2}"))
        for header in ("arcface", "cosface", "sphereface")
        for m2 in (0.2, 0.5)
    }
    assert len(prints) == 6


@pytest.mark.parametrize(
    "bookkeeping",
    [
        "sweep=x",
        "data_dir=/elsewhere",
        "logger=none",
        "wandb.tags=[a]",
        "threads=1",
        "resume=x",
        "trainer=cpu",
        "class_chunk=100",
    ],
)
def test_bookkeeping_does_not_change_the_fingerprint(bookkeeping):
    assert fingerprint(composed(bookkeeping)) == fingerprint(composed())


@pytest.mark.parametrize(
    "change",
    [
        "m2=0.3",
        "seed=1",
        "epochs=3",
        "dataset.classes=4",
        "s=20",
        "trainer.gradient_clip_val=0.5",
        "optimizer.lr=0.2",
        "gap_deg=20",
        "augment=shift",
        "embedding_dim=3d",
        "ramp=0.1",
        "sample_rate=0.5",
    ],
)
def test_what_changes_a_result_changes_the_fingerprint(change):
    assert fingerprint(composed(change)) != fingerprint(composed())


def test_a_margin_that_the_header_does_not_take_leaves_the_fingerprint():
    plain = fingerprint(composed("header=linear"))
    assert fingerprint(composed("header=linear", "m2=0.4")) == plain
    assert fingerprint(composed("header=linear", "gap_deg=10")) == plain


def test_configurations_share_nothing_although_hydras_store_is_not_copied():
    store = ConfigStore.instance()
    assert copy.deepcopy(store) is store
    with initialize_config_dir(str(CONF), version_base="1.3"):
        first = compose("config", return_hydra_config=True)
        with open_dict(first):
            first.epochs = 77
            first.hydra.job.name = first.hydra.launcher._target_ = "changed"
        second = compose("config", return_hydra_config=True)
    assert second.epochs == 30
    assert "changed" not in (second.hydra.job.name, second.hydra.launcher._target_)


def test_the_whole_configuration_fits_on_a_screen():
    assert len(OmegaConf.to_yaml(composed()).splitlines()) <= 100


def test_a_wheel_and_a_source_tree_share_one_configuration():
    assert Path(CONF).name == "conf" and (CONF / "config.yaml").is_file()
