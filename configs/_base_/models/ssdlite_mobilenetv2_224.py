# SSDLite-MobileNetV2 at 224x224: mmdet's ssdlite_mobilenetv2 (320x320) without its sixth level,
# which would be a second map of 1x1. Maps of 14, 7, 4, 2 and 1 pixels; 1,596 priors.
norm_cfg = dict(type='BN', eps=0.001, momentum=0.1)  # mmdet's momentum of 0.03 is for long runs
act_cfg = dict(type='ReLU6')
channels = (96, 1280, 512, 256, 256)

model = dict(
    type='SingleStageDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor', bgr_to_rgb=True, pad_size_divisor=1,
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        type='MobileNetV2', out_indices=(4, 7), norm_cfg=norm_cfg,
        # As in mmdet's yolov3_mobilenetv2; mmdet's SSDLite starts from scratch.
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://mmdet/mobilenet_v2')),
    neck=dict(
        type='SSDNeck', in_channels=channels[:2], out_channels=channels,
        level_strides=(2, 2, 2), level_paddings=(1, 1, 1), l2_norm_scale=None,
        use_depthwise=True, norm_cfg=norm_cfg, act_cfg=act_cfg,
        init_cfg=dict(type='TruncNormal', layer='Conv2d', std=0.03)),
    bbox_head=dict(
        type='SSDHead', in_channels=channels, num_classes=20,
        use_depthwise=True, norm_cfg=norm_cfg, act_cfg=act_cfg,
        # As in the neck. With mmdet's std of 0.001, depthwise outputs are far below the norm's eps.
        init_cfg=dict(type='TruncNormal', layer='Conv2d', std=0.03),
        anchor_generator=dict(
            type='SSDAnchorGenerator', scale_major=False,
            strides=[16, 32, 56, 112, 224], ratios=[[2, 3]] * 5,
            # 15, 35, 55, 75 and 95 % of the input. mmdet: 15, 31, 47, 63, 79, 95 %.
            min_sizes=[33.6, 78.4, 123.2, 168.0, 212.8],
            max_sizes=[78.4, 123.2, 168.0, 212.8, 224.0]),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder', target_means=[0.0, 0.0, 0.0, 0.0],
            target_stds=[0.1, 0.1, 0.2, 0.2])),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.0,
            ignore_iof_thr=-1, gt_max_assign_all=False),
        sampler=dict(type='PseudoSampler'),
        smoothl1_beta=1.0, allowed_border=-1, pos_weight=-1, neg_pos_ratio=3, debug=False),
    test_cfg=dict(
        nms_pre=1000, nms=dict(type='nms', iou_threshold=0.45), min_bbox_size=0,
        score_thr=0.02, max_per_img=200))
