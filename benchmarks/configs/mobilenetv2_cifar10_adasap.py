# The shipped recipe with the radii that benchmarks/cifar10.py records, under its name there.
_base_ = '../../configs/mobilenet/mobilenet-v2_adasap-params50_1xb128-6e_cifar10.py'

optim_wrapper = dict(rho_min=0.005, rho_max=0.05, rho=0.5, radius_map='linear')
