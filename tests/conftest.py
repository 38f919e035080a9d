"""What holds for every test: nothing is fetched or reported, and no clock decides."""

import os

# Before any test imports transformers or trl, which read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

from hypothesis import settings

# The same cases every time, and no deadline: a busy machine must not fail a test.
settings.register_profile("progym", deadline=None, derandomize=True)
settings.load_profile("progym")
