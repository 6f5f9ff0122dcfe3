import os

import pytest
import torch
from torch import nn
from torchvision.models import resnet18 as torchvision_resnet18

from arcmargin import backbones
from arcmargin.errors import UserError
from arcmargin.training.checkpoints import load_body

SHAPE = {"image_shape": (3, 32, 32), "embedding_dim": 8}


def test_weights_of_torchvisions_file_and_of_a_checkpoint_of_ours(tmp_path):
    theirs = torchvision_resnet18(weights=None)
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    ours = backbones.resnet18(**SHAPE, stem="large")
    load_body(ours.body, str(tmp_path / "resnet18.pth"))
    assert torch.equal(ours.body.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)
    run = backbones.convnet(**SHAPE, width=4)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    state = {f"backbone.{key}": value for key, value in run.state_dict().items()}
    content = {"state_dict": {**state, "header.weight": torch.zeros(3, 8)}, "epoch": 3}
    torch.save(content, tmp_path / "run" / "checkpoints" / "last.ckpt")
    again = backbones.convnet(image_shape=(3, 32, 32), embedding_dim=3, width=4)
    load_body(again.body, str(tmp_path / "run"))
    for one, two in zip(run.body.parameters(), again.body.parameters(), strict=True):
        assert torch.equal(one, two)


def test_files_that_are_not_the_weights_are_explained(tmp_path):
    def refused(content, match, make=backbones.convnet):
        if isinstance(content, bytes):
            (tmp_path / "x.pth").write_bytes(content)
        else:
            torch.save(content, tmp_path / "x.pth")
        with pytest.raises(UserError, match=match) as caught:
            load_body(make(**SHAPE).body, str(tmp_path / "x.pth"))
        assert "\n" not in str(caught.value)

    theirs = torchvision_resnet18(weights=None).state_dict()
    refused(theirs, r"has no 0\.weight \(16, 3, 5, 5\)")
    refused(theirs, r"conv1\.weight is \(64, 3, 7, 7\) .* but \(64, 3, 3, 3\)", backbones.resnet18)
    refused(b"junk", "is not a file of weights")
    refused(nn.Linear(2, 2), "is not a file of weights")  # a pickled module is not tensors alone
    refused([1, 2], "holds no weights")
    refused({"a": 1}, "holds no weights")
    os.mkfifo(tmp_path / "pipe.pth")  # reading it would wait for ever
    for name in ("nothing.pth", "pipe.pth"):
        with pytest.raises(UserError, match="no file"):
            load_body(backbones.convnet(**SHAPE).body, str(tmp_path / name))
