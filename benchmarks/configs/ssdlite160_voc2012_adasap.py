# AdaSAP from the dense detector of the study, with the radii of the VOC 2012 recipe.
_base_ = 'ssdlite160_voc2012_pruned.py'

optim_wrapper = dict(
    type='AdaSAPOptimWrapper', form='asam', rho_min=0.001, rho_max=0.02, rho=0.5,
    radius_map='linear')
