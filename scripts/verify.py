"""Whether two images match: python scripts/verify.py outputs/runs/<run> ONE OTHER"""

import sys

from arcmargin.inference.verify import main

if __name__ == "__main__":
    sys.exit(main())
