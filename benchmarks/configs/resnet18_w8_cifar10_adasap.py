# The shipped recipe under the name that benchmarks/cifar10.py records.
_base_ = '../../configs/resnet/resnet18-w8_adasap-params50_1xb128-8e_cifar10.py'
