# AdaSAP with the paper's own settings: its radii, their map, and magnitude importance.
_base_ = 'resnet50_adasap-params40_8xb128-90e_in1k.py'

optim_wrapper = dict(rho_min=0.01, rho_max=2.0, rho=2.0, radius_map='linear')
default_hooks = dict(
    pruning=dict(importance=dict(_delete_=True, type='MagnitudeImportance')))  # L2 norm
