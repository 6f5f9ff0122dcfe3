"""python -m arcmargin.report outputs/sweeps/NAME"""

import sys

from arcmargin.report.write import main

sys.exit(main())
