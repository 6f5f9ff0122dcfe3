"""Where images come from: data sets by name, folders and lists of one's own."""

from arcmargin.data.folder import image_folder
from arcmargin.data.labeled_faces import lfw
from arcmargin.data.pair_lists import add_pairs
from arcmargin.data.standard import digits, omniglot, torchvision_images

__all__ = ["add_pairs", "digits", "image_folder", "lfw", "omniglot", "torchvision_images"]
