"""Checkpoints of pruned models: their structure, loading, resuming and atomic writing."""
