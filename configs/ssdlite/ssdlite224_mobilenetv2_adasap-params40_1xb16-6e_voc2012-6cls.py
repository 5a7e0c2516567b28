# AdaSAP on SSDLite-MobileNetV2, Pascal VOC 2012, six classes.
_base_ = 'ssdlite224_mobilenetv2_pruned-params40_1xb16-6e_voc2012-6cls.py'

optim_wrapper = dict(
    type='AdaSAPOptimWrapper',
    form='asam',
    # Radius of the most and of the least important channel, up to the last prune step.
    rho_min=0.001, rho_max=0.02,
    rho=0.5,  # radius of the whole network from there on
    ungrouped='uniform')  # parameters of no channel group take rho
