"""`python -m condkl_studies` with one study, `tiny`."""

import signal
import sys

import tiny  # what it spawns imports this file, and so knows the data set too

from condkl_studies import plans
from condkl_studies.__main__ import main

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit deaf ears
    plans.__path__[:] = [str(tiny.MADE / "plans")]
    sys.exit(main())
