"""Features of a frozen body, computed once."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim import SGD

from arcmargin import backbones
from arcmargin.data import digits
from arcmargin.data.features import with_features
from arcmargin.data.image_data import Normalise
from arcmargin.errors import UserError
from arcmargin.headers import MarginHeader
from arcmargin.record import Settings
from arcmargin.training import schedules
from arcmargin.training.module import MarginModule
from arcmargin.training.train import train


@pytest.fixture(scope="module")
def data():
    splits = {"split_seed": 0, "val_fraction": 0.1, "test_fraction": 0.2}
    return digits(classes=6, unseen=2, **splits)


@pytest.fixture
def weights(tmp_path, data):
    """A body with BatchNorm statistics of its own."""
    torch.manual_seed(1)
    body = backbones.convnet(image_shape=data.image_shape, embedding_dim=4, width=4).body.train()
    for _ in range(20):
        body(Normalise(data.mean, data.std)(data.train.images[:100]))
    torch.save(body.state_dict(), tmp_path / "body.pth")
    return str(tmp_path / "body.pth")


def net(data, weights):
    backbone = backbones.convnet(image_shape=data.image_shape, embedding_dim=4, width=4)
    backbone.body.load_state_dict(torch.load(weights, weights_only=True))
    backbone.freeze_body()
    return backbone


def fit(data, weights, folder, cache=None):
    pl.seed_everything(0, verbose=False)
    backbone = net(data, weights)
    module = MarginModule(
        backbone,
        MarginHeader(4, data.num_classes, m2=0.3),
        optimizer=lambda groups: SGD(groups, lr=0.1, momentum=0.9, weight_decay=1e-3),
        schedule=schedules.one_cycle,
        normalise=None if cache else Normalise(data.mean, data.std),
    )
    if cache:
        data = with_features(data, backbone.body, cache)
        backbone.takes_features = True

    def trainer(**kwargs):
        return pl.Trainer(accelerator="cpu", devices=1, **kwargs)

    settings = Settings(header="arcface", dataset="digits", embedding_dim=4)
    result = train(module, data, trainer, settings, epochs=3, batch_size=64, seed=0, folder=folder)
    return result, module


def test_training_on_features_equals_training_on_images_with_the_body_in_evaluation_mode(
    data, weights, tmp_path
):
    slow, slow_module = fit(data, weights, tmp_path / "slow")
    fast, fast_module = fit(data, weights, tmp_path / "fast", tmp_path / "cache")
    for one, other in (
        (slow.arrays.embeddings, fast.arrays.embeddings),
        (slow.arrays.unseen, fast.arrays.unseen),
    ):
        assert np.allclose(one.embeddings, other.embeddings, atol=1e-4)
    for name, value in slow.metrics.items():
        assert fast.metrics[name] == pytest.approx(value, abs=1e-2), name
    assert slow.curves["train_loss"] == pytest.approx(fast.curves["train_loss"], abs=1e-4)
    assert slow.arrays.snapshots.thumbnails is not None
    assert fast.arrays.snapshots.thumbnails is None
    stored = torch.load(weights, weights_only=True)
    for module in (slow_module, fast_module):
        body = module.backbone.body.state_dict()
        assert all(torch.equal(body[key], value) for key, value in stored.items())
    # A checkpoint of either holds the whole backbone.
    states = [
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("slow", "fast")
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.allclose(states[0][key], states[1][key], atol=1e-4) for key in states[0])


class Counting(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body, self.seen = body, 0

    def forward(self, images):
        self.seen += len(images)
        return self.body(images)


def test_features_are_computed_once_for_the_same_weights_and_images(
    data, weights, tmp_path, caplog
):
    images = sum(map(len, (data.train, data.val, data.test, data.unseen)))

    def seen(data, weights):
        body = Counting(net(data, weights).body)
        found = with_features(data, body, tmp_path / "cache")
        images = Normalise(data.mean, data.std)(data.test.images)
        expected = net(data, weights).eval().body(images).flatten(1)
        assert torch.allclose(found.test.images.flatten(1), expected, atol=1e-5)
        return body.seen

    assert seen(data, weights) == images
    assert seen(data, weights) == 0
    other = digits(classes=6, split_seed=1, val_fraction=0.1, test_fraction=0.2)
    assert seen(other, weights) > 0
    state = torch.load(weights, weights_only=True)
    state["0.weight"][0, 0, 0, 0] += 1e-3
    torch.save(state, tmp_path / "near.pth")
    assert seen(data, str(tmp_path / "near.pth")) == images
    for file in (tmp_path / "cache").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    assert seen(data, weights) == images
    assert "computed again" in caplog.text
    assert seen(data, weights) == 0


def test_a_body_that_learns_has_no_features_to_keep(data, tmp_path):
    backbone = backbones.convnet(image_shape=data.image_shape, embedding_dim=4)
    with pytest.raises(UserError, match="only for a frozen body"):
        with_features(data, backbone.body, tmp_path)
