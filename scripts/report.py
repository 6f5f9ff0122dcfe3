"""Comparison grid and tables from finished runs: python scripts/report.py outputs/<folder>"""

import sys

from arcmargin.tracking.download import main

if __name__ == "__main__":
    sys.exit(main())
