"""mmGRPO: groups of calls instead of groups of answers, trained through TRL's GRPOTrainer."""

METRICS, RUNS = "metrics.jsonl", "runs.jsonl"
"""A run's records: a line an update or evaluation, and the episodes of an example at some steps."""
