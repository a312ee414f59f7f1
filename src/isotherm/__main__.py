"""`python -m isotherm`."""

import sys

from isotherm.cli import main

sys.exit(main())
