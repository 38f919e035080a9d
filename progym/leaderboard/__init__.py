"""What is claimed, and whether it holds: bundles, verification by re-execution, the page."""
