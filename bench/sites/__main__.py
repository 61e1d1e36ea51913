"""Run one of the processes; see the package."""

import sys
from pathlib import Path

from bench.sites import floor, ours

{"ours": ours, "floor": floor}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]), [int(port) for port in sys.argv[4:]])
