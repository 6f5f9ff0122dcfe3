"""A backbone as a file that runs without arcmargin: python scripts/export.py outputs/runs/<run>"""

import sys

from arcmargin.inference.export import main

if __name__ == "__main__":
    sys.exit(main())
