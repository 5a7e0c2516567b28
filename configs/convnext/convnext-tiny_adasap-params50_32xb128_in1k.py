# AdaSAP on ConvNeXt-T, ImageNet.
_base_ = 'convnext-tiny_pruned-params50_32xb128_in1k.py'

optim_wrapper = dict(
    type='AdaSAPOptimWrapper',
    form='asam',
    # Radius of the most and of the least important channel, up to the last prune step.
    rho_min=0.001, rho_max=0.02,
    rho=0.5,  # radius of the whole network from there on
    ungrouped='uniform')  # parameters of no channel group take rho
