"""python -m jaxgen.evaluation: scores of samples from anywhere."""

import sys

from jaxgen.evaluation.foreign import main

sys.exit(main())
