"""`python -m conceptseg.interfaces.cli`: the command line where the script `conceptseg` is not on the path."""

from __future__ import annotations

import sys

from conceptseg.interfaces.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
