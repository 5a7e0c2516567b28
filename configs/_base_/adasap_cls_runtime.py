# adasap_runtime.py for classifiers: mmpretrain's runtime sets the seed itself, so it is inherited.
_base_ = 'mmpretrain::_base_/default_runtime.py'

custom_imports = dict(imports=['adasap_det'], allow_failed_imports=False)

randomness = dict(seed=0)
default_hooks = dict(checkpoint=dict(backend_args=dict(backend='atomic')))  # whole or not at all
