"""A training step never waits for the device: nothing in it reads a tensor's value."""

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch.utils._python_dispatch import TorchDispatchMode

from arcmargin.data.augment import RandomShift
from arcmargin.data.image_data import Batches, Split
from arcmargin.headers import Header
from arcmargin.job.build import build_backbone
from arcmargin.job.hydra_versions import version_base
from arcmargin.job.schema import CONF, store
from arcmargin.training.callbacks import Monitor
from arcmargin.training.module import MarginModule

HEADERS = sorted(path.stem for path in (CONF / "header").glob("*.yaml"))
# What .item(), float(), bool(), .tolist() and boolean indexing come down to.
READS = ("aten._local_scalar_dense", "aten.nonzero", "aten.equal", "aten.masked_select")


class NoReading(TorchDispatchMode):
    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        assert not str(operation).startswith(READS), f"{operation} waits for the device"
        return operation(*args, **(kwargs or {}))


def module_of(header):
    store()
    with initialize_config_dir(str(CONF), **version_base()):
        cfg = compose("config", [f"header={header}", "backbone.width=4", "backbone.hidden=8"])
    torch.manual_seed(0)
    return MarginModule(
        build_backbone(cfg.backbone, (1, 8, 8), 2),
        instantiate(cfg.header, embedding_dim=2, num_classes=3, _convert_="all"),
        optimizer=instantiate(cfg.optimizer),
        schedule=instantiate(cfg.schedule),
        augment=RandomShift(1),
    )


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    """On the CPU, where it costs little, a head looks at its labels; elsewhere it does not."""
    monkeypatch.setattr(Header, "_check_range", lambda self, labels, num_classes: None)


@pytest.mark.parametrize("header", HEADERS)
def test_no_head_reads_a_value_in_its_step(header):
    module = module_of(header).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    batch = torch.randn(6, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
    for progress in (0.0, 0.5):
        with NoReading():
            module.header.set_progress(progress)
            loss = module.training_step(batch, 0)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()


class Watched(MarginModule):
    """Lightning's own share of the step and the callbacks, from one batch to the next."""

    def on_train_batch_start(self, batch, batch_idx):
        super().on_train_batch_start(batch, batch_idx)
        self.mode = NoReading()
        self.mode.__enter__()

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.mode.__exit__(None, None, None)


def test_neither_lightning_nor_the_monitor_reads_one_between_logged_steps(tmp_path):
    module = module_of("arcface")
    module.__class__ = Watched
    split = Split(torch.randn(24, 1, 8, 8), torch.arange(24) % 3)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        gradient_clip_val=1.0,
        callbacks=[Monitor()],
        logger=False,
        log_every_n_steps=50,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, Batches(split, 6, seed=0), Batches(split, 24))
    assert trainer.global_step == 4


def test_the_mode_above_notices_a_read():
    with pytest.raises(AssertionError, match="waits for the device"), NoReading():
        torch.ones(1).item()
