# The paper's schedule on ImageNet: 90 epochs, 8 of warm-up and then cosine, for 8 GPUs with 128
# images each.
max_epochs = 90
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=1.024, momentum=0.875, weight_decay=3.05e-5),
    paramwise_cfg=dict(norm_decay_mult=0.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=8,
         convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=8, end=max_epochs, T_max=max_epochs - 8,
         convert_to_iter_based=True, eta_min=0),
]
auto_scale_lr = dict(base_batch_size=1024)
