"""What holds for every test: nothing is fetched, nothing is reported, nothing depends on the clock."""

import os

# Before any test imports transformers or trl, which read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

from hypothesis import settings

# The same cases every time, and no deadline: a busy machine must not fail a test.
settings.register_profile("progym", deadline=None, derandomize=True)
settings.load_profile("progym")
