"""Where images come from: data sets by name, folders and lists of one's own."""

from arcmargin.sources.faces import lfw
from arcmargin.sources.folder import image_folder
from arcmargin.sources.standard import digits, omniglot, torchvision_images
from arcmargin.sources.verification import add_pairs

__all__ = ["add_pairs", "digits", "image_folder", "lfw", "omniglot", "torchvision_images"]
