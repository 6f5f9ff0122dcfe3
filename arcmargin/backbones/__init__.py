"""Networks from images to embeddings. No activation follows the embedding: a head needs all of space."""

from arcmargin.backbones.backbone import Backbone
from arcmargin.backbones.ir_resnet import ir_resnet
from arcmargin.backbones.resnet import resnet18
from arcmargin.backbones.small import convnet, lenet

BUILDERS = {"convnet": convnet, "lenet": lenet, "resnet18": resnet18, "ir_resnet": ir_resnet}

__all__ = ["BUILDERS", "Backbone", "convnet", "ir_resnet", "lenet", "resnet18"]
