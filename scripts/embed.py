"""Embeddings of a folder of images: python scripts/embed.py outputs/runs/<run> FOLDER"""

import sys

from arcmargin.inference.embed import main

if __name__ == "__main__":
    sys.exit(main())
