"""Data sets by name, folders of images, and lists of pairs to verify."""

from arcmargin.data.folder import image_folder
from arcmargin.data.image_data import ImageData, RawImages, build
from arcmargin.data.labeled_faces import lfw
from arcmargin.data.pair_lists import add_pairs
from arcmargin.data.standard import digits, omniglot, torchvision_images

__all__ = [
    "ImageData",
    "RawImages",
    "add_pairs",
    "build",
    "digits",
    "image_folder",
    "lfw",
    "omniglot",
    "torchvision_images",
]
