# What every recipe shares, beside mmdet's own default_runtime.py.

# Registers the hooks, optimizer wrappers, models and data checks, and puts plain PyTorch operators
# in the place of mmcv's compiled ones where those are missing.
custom_imports = dict(imports=['adasap_det'], allow_failed_imports=False)

# Runs repeat; override the seed to average over several.
randomness = dict(seed=0)
