# DeiT-S on ImageNet, mmpretrain's recipe: AdamW, Mixup and CutMix, label smoothing.
_base_ = 'mmpretrain::deit/deit-small_4xb256_in1k.py'

custom_imports = dict(imports=['adasap_det'], allow_failed_imports=False)
randomness = dict(seed=0)
default_hooks = dict(checkpoint=dict(backend_args=dict(backend='atomic')))
