"""See bench.moving."""

import sys
from pathlib import Path

from bench.moving import main

main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
