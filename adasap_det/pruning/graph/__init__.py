"""Channel groups: traced with Torch-Pruning, coupled, and checked on a pruned copy."""
