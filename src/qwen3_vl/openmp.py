"""How long the threads of torch's operations spin when one is over.

GNU OpenMP lets them spin for milliseconds, on the very cores that the kernels' own threads need
then: a word takes a third more time. A spin of some microseconds costs torch nothing that could be
measured.
"""

from __future__ import annotations

import os
import sys

_SPINS = "GOMP_SPINCOUNT"
_ENOUGH = "2000"
"""Rounds: longer than two operations of a model lie apart."""


def shorten_spin() -> None:
    """Ask for a short spin, unless the user asked for something or torch has been loaded."""
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault(_SPINS, _ENOUGH)
