# AdaSAP on a narrow ResNet-18, CIFAR-10.
_base_ = 'resnet18-w8_pruned-params50_1xb128-8e_cifar10.py'

optim_wrapper = dict(type='AdaSAPOptimWrapper')
