"""Puts this folder on the path, so that its tests can import ``oracles``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
