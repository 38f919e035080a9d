"""What holds for every test: nothing is fetched from the hub and nothing is reported to it."""

import os

# Before any test imports transformers or trl, which read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
