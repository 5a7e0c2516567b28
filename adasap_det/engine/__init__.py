"""Between MMEngine and us: checkpoints, their structure, checks before a run."""
