"""`python -m wiro_nb.sandbox`: the sandbox without the rest of the command line."""

import sys

from wiro_nb.sandbox import main

sys.exit(main())
