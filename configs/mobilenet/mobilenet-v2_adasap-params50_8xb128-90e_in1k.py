# AdaSAP on MobileNet-V2, ImageNet.
_base_ = 'mobilenet-v2_pruned-params50_8xb128-90e_in1k.py'

optim_wrapper = dict(type='AdaSAPOptimWrapper')
