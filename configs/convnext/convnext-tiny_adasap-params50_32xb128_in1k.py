# AdaSAP on ConvNeXt-T, ImageNet.
_base_ = 'convnext-tiny_pruned-params50_32xb128_in1k.py'

optim_wrapper = dict(
    type='AdaSAPOptimWrapper',
    form='asam',  # the paper's [second-hand]
    rho_min=0.01, rho_max=2.0,  # "the same everywhere" [second-hand]
    rho=2.0,  # after the cut [recalled]
    ungrouped='uniform',  # could not be read; parameters of no channel group take rho
)
