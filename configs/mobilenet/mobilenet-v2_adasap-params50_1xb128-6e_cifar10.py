# AdaSAP on MobileNetV2, CIFAR-10.
_base_ = 'mobilenet-v2_pruned-params50_1xb128-6e_cifar10.py'

optim_wrapper = dict(type='AdaSAPOptimWrapper')
