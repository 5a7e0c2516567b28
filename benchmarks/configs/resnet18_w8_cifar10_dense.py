# The shipped recipe under the name that benchmarks/cifar10.py records.
_base_ = '../../configs/resnet/resnet18-w8_1xb128-24e_cifar10.py'
