# AdaSAP from the dense network of the study, with the radii of the CIFAR-10 recipes.
_base_ = 'resnet18_w8_cifar10_5k_pruned.py'

optim_wrapper = dict(
    type='AdaSAPOptimWrapper', form='asam', rho_min=0.005, rho_max=0.05, rho=0.5,
    radius_map='linear')
