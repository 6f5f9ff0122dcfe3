import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet18 as torchvision_resnet18

from arcmargin import backbones
from arcmargin.backbones.ir_resnet import Unit
from arcmargin.errors import UserError

SHAPE = {"image_shape": (3, 32, 32), "embedding_dim": 8}


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_resnet18_is_torchvisions_with_the_large_stem():
    torch.manual_seed(0)
    ours = backbones.resnet18(image_shape=(3, 64, 64), embedding_dim=8).eval()
    theirs = torchvision_resnet18(weights=None).eval()
    theirs.fc = nn.Identity()
    theirs.load_state_dict(ours.body.state_dict())
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours.body(images), theirs(images), atol=1e-4, rtol=1e-4)
    theirs.to(memory_format=torch.channels_last)
    assert torch.equal(ours.body(images), theirs(images))
    assert count(ours.body) == 11_176_512  # of 11,689,512 less the classifier's 513,000
    assert ours(images).shape == (2, 8)


def test_the_stem_and_the_channels_follow_the_images():
    small = backbones.resnet18(image_shape=(1, 28, 28), embedding_dim=2).body
    assert small.conv1.weight.shape == (64, 1, 3, 3) and isinstance(small.maxpool, nn.Identity)
    grey = backbones.resnet18(image_shape=(1, 64, 64), embedding_dim=2).body
    assert grey.conv1.weight.shape == (64, 1, 7, 7) and isinstance(grey.maxpool, nn.MaxPool2d)
    asked = backbones.resnet18(image_shape=(3, 64, 64), embedding_dim=2, stem="small").body
    assert asked.conv1.weight.shape == (64, 3, 3, 3)
    with pytest.raises(UserError, match=r"backbone\.stem"):
        backbones.resnet18(**SHAPE, stem="tiny")


def test_a_unit_is_the_papers_formula():
    torch.manual_seed(0)
    unit = Unit(4, 6, stride=2).eval()
    for norm in [m for m in unit.modules() if isinstance(m, nn.BatchNorm2d)]:
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.normal_(norm.weight)
    x = torch.randn(2, 4, 9, 9)

    def bn(x, m):
        scale = m.weight / torch.sqrt(m.running_var + m.eps)
        return (x - m.running_mean.view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1) + m.bias.view(
            1, -1, 1, 1
        )

    first, conv1, second, prelu, conv2, third = unit.residual
    y = F.conv2d(bn(x, first), conv1.weight, padding=1)
    y = bn(y, second)
    y = torch.where(y > 0, y, prelu.weight.view(1, -1, 1, 1) * y)
    y = bn(F.conv2d(y, conv2.weight, stride=2, padding=1), third)
    conv, norm = unit.shortcut
    expected = y + bn(F.conv2d(x, conv.weight, stride=2), norm)
    assert torch.allclose(unit(x), expected, atol=1e-5)
    assert isinstance(Unit(4, 4, stride=1).shortcut, nn.Identity)


@pytest.mark.parametrize(("layers", "millions"), [(18, 24.02), (50, 43.59)])
def test_ir_resnets_have_the_published_size(layers, millions):
    """Parameters of the 512-D networks for 112×112, as commonly stated: 24.0 and 43.6 million."""
    with torch.device("meta"):
        units = [m for m in _ir_body(layers) if isinstance(m, Unit)]
        body = nn.Sequential(*_ir_body(layers))
    convolutions = [m for u in units for m in u.residual if isinstance(m, nn.Conv2d)]
    assert len(convolutions) + 2 == layers  # the first convolution and the full layer count too
    total = count(body) + 512 * 7 * 7 * 512 + 512 + 512  # option E: full layer, its BN
    assert round(total / 1e6, 2) == pytest.approx(millions, abs=0.02)


def _ir_body(layers):
    return list(backbones.ir_resnet(image_shape=(3, 16, 16), embedding_dim=2, layers=layers).body)


def test_ir_resnet_halves_112_pixels_four_times():
    net = backbones.ir_resnet(image_shape=(3, 112, 112), embedding_dim=16).eval()
    assert net.body(torch.zeros(1, 3, 112, 112)).shape == (1, 512, 7, 7)
    for bad in ({"layers": 19}, {"dropout": 1.0}):
        with pytest.raises(UserError, match=r"backbone\."):
            backbones.ir_resnet(**SHAPE, **bad)


def test_a_frozen_body_stays_as_it_is():
    net = backbones.convnet(**SHAPE)
    net.freeze_body()
    net.train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)
    net(torch.randn(8, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    changed = {key.split(".")[0] for key, v in net.state_dict().items() if not v.equal(before[key])}
    assert changed == {"2", "3", "5"}, "hidden layer, its BatchNorm and the projection"
