# mmdet's own settings, with the box heads of Swin Transformer's detector, which other backbones took over. A config
# adds the backbone, and the neck's in_channels.
_base_ = './mask-rcnn_fpn.py'

mask_rcnn = _base_.model
bbox_heads = [
    dict(
        type='ConvFCBBoxHead',
        num_shared_convs=4,
        num_shared_fcs=1,
        in_channels=256,
        conv_out_channels=256,
        fc_out_channels=1024,
        roi_feat_size=7,
        num_classes=80,
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=stds),
        reg_class_agnostic=False,
        reg_decoded_bbox=True,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=10.0),
    )
    for stds in ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067])
]
# each stage requires a larger overlap
stages = [
    dict(
        mask_rcnn.train_cfg.rcnn,
        assigner=dict(
            mask_rcnn.train_cfg.rcnn.assigner,
            pos_iou_thr=overlap,
            neg_iou_thr=overlap,
            min_pos_iou=overlap,
            match_low_quality=False,
        ),
    )
    for overlap in (0.5, 0.6, 0.7)
]
model = dict(
    type='CascadeRCNN',
    rpn_head=dict(loss_bbox=dict(_delete_=True, type='SmoothL1Loss', beta=1 / 9, loss_weight=1.0)),
    roi_head=dict(type='CascadeRoIHead', num_stages=3, stage_loss_weights=[1, 0.5, 0.25], bbox_head=bbox_heads),
    train_cfg=dict(rpn=dict(allowed_border=0), rpn_proposal=dict(max_per_img=2000), rcnn=stages),
)
