# AdaSAP on MobileNetV2, CIFAR-10.
_base_ = 'mobilenet-v2_pruned-params50_1xb128-6e_cifar10.py'

optim_wrapper = dict(
    type='AdaSAPOptimWrapper',
    form='asam',  # the paper's [second-hand]
    rho_min=0.005, rho_max=0.05,
    rho=0.5,
    ungrouped='uniform',
)
