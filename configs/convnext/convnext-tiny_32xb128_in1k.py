# ConvNeXt-T on ImageNet, mmpretrain's recipe: AdamW, EMA, Mixup and CutMix, label smoothing.
_base_ = 'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py'

custom_imports = dict(imports=['adasap_det'], allow_failed_imports=False)
randomness = dict(seed=0)
default_hooks = dict(checkpoint=dict(backend_args=dict(backend='atomic')))
