"""python -m public_logs NAME FOLDER ROWS"""

import sys
from pathlib import Path

from . import write

write(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
