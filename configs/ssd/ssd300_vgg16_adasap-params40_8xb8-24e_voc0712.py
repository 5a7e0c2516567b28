# AdaSAP on SSD300-VGG16, Pascal VOC 07+12.
_base_ = 'ssd300_vgg16_pruned-params40_8xb8-24e_voc0712.py'

optim_wrapper = dict(
    type='AdaSAPOptimWrapper',
    form='asam',  # the paper's [second-hand]
    rho_min=0.01, rho_max=2.0,  # "the same everywhere" [second-hand]
    rho=2.0,  # after the cut [recalled]
    ungrouped='uniform',  # could not be read; parameters of no channel group take rho
)
