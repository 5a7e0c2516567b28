# Shared by all classifiers. Inherits mmpretrain's runtime, as both set the seed.
_base_ = 'mmpretrain::_base_/default_runtime.py'

custom_imports = dict(imports=['adasap_det'], allow_failed_imports=False)

randomness = dict(seed=0)
# Checkpoints appear under their name once they are complete.
default_hooks = dict(checkpoint=dict(backend_args=dict(backend='atomic')))
