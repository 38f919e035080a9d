"""Lets tests and their worker processes import the toys by name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
