# AdaSAP on SSD300-VGG16, Pascal VOC 07+12.
_base_ = 'ssd300_vgg16_pruned-params40_8xb8-24e_voc0712.py'

optim_wrapper = dict(
    type='AdaSAPOptimWrapper',
    form='asam',
    # Radius of the most and of the least important channel, up to the last prune step.
    rho_min=0.001, rho_max=0.02,
    rho=0.5,  # radius of the whole network from there on
    ungrouped='uniform')  # parameters of no channel group take rho
