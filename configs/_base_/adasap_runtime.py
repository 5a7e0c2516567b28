# Shared by all detectors, in addition to mmdet's default_runtime.py.

# Registers hooks, optimizer wrappers, models and data checks; replaces mmcv's compiled operators
# by plain PyTorch ones where they are missing.
custom_imports = dict(imports=['adasap_det'], allow_failed_imports=False)

# A fixed seed makes runs repeatable; override it to average over several.
randomness = dict(seed=0)
