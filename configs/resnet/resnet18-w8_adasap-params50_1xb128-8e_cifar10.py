# AdaSAP on a narrow ResNet-18, CIFAR-10.
_base_ = 'resnet18-w8_pruned-params50_1xb128-8e_cifar10.py'

optim_wrapper = dict(
    type='AdaSAPOptimWrapper',
    form='asam',
    # Radius of the most and of the least important channel, up to the last prune step.
    rho_min=0.005, rho_max=0.05,
    rho=0.5,  # radius of the whole network from there on
    ungrouped='uniform')  # parameters of no channel group take rho
