"""`python -m wiro_nb`: the same as the `wiro-nb` command."""

import sys

from wiro_nb.cli import main

if __name__ == "__main__":
    sys.exit(main())
