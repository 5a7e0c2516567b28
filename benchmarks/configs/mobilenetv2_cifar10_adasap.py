# The shipped recipe under the name that benchmarks/cifar10.py records.
_base_ = '../../configs/mobilenet/mobilenet-v2_adasap-params50_1xb128-6e_cifar10.py'
