"""AP50 and AP against MMDetection's own metrics, up to their rounding, and by hand."""

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric, VOCMetric
from mmengine.structures import InstanceData

from adasap_det.robustness.evaluation.average_precision import (
    DetectionAP,
    coco_ap,
    detection_outcomes,
    voc_ap,
)

CLASSES = ('a', 'b', 'c')


def boxes(rng, number):
    corner = rng.uniform(0, 60, (number, 2))
    return np.hstack([corner, corner + rng.uniform(8, 40, (number, 2))]).astype(np.float32)


def samples(seed=0, images=20):
    """Detections near the objects, some duplicated, some wrong; class c has no objects."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(images):
        truth, ignored = boxes(rng, rng.integers(1, 5)), boxes(rng, rng.integers(0, 3))
        labels = rng.integers(0, 2, len(truth))
        near = truth + rng.normal(0, 3, truth.shape)
        detections = np.vstack([near, near[:1] + 1, ignored + 1, boxes(rng, 2)]).astype(np.float32)
        classes = np.concatenate([labels, labels[:1], rng.integers(0, 2, len(ignored)), [0, 2]])
        found.append(
            {
                'img_id': index,
                'ori_shape': (100, 100),
                'gt_instances': InstanceData(
                    bboxes=torch.tensor(truth), labels=torch.tensor(labels)
                ),
                'ignored_instances': InstanceData(
                    bboxes=torch.tensor(ignored),
                    labels=torch.tensor(rng.integers(0, 2, len(ignored))),
                ),
                'pred_instances': InstanceData(
                    bboxes=torch.tensor(detections),
                    scores=torch.tensor(rng.uniform(0, 1, len(detections)).astype(np.float32)),
                    labels=torch.tensor(classes),
                ),
            }
        )
    return found


def evaluate(metric, data):
    metric.dataset_meta = {'classes': CLASSES}
    metric.process({}, data)
    return metric.evaluate(len(data))


@pytest.mark.parametrize('eval_mode', ['area', '11points'])
def test_ap50_equals_vocmetric_before_rounding(eval_mode):
    data = samples()
    ours = evaluate(DetectionAP(eval_mode=eval_mode), data)
    theirs = evaluate(VOCMetric(eval_mode=eval_mode), data)
    assert ours['robustness/AP50'] == pytest.approx(theirs['pascal_voc/mAP'], abs=1e-6)
    assert 0.1 < ours['robustness/AP50'] < 0.9
    per_class = ours['robustness/per_class']['AP50']
    assert per_class['c'] is None
    assert (per_class['a'] + per_class['b']) / 2 == pytest.approx(ours['robustness/AP50'])


def test_ap_equals_cocometric(tmp_path):
    data = samples(1)
    ours = evaluate(DetectionAP(), data)
    for sample in data:  # CocoMetric takes plain instances in this form
        sample['instances'] = [
            dict(bbox=box.tolist(), bbox_label=int(label), ignore_flag=flag)
            for key, flag in (('gt_instances', 0), ('ignored_instances', 1))
            for box, label in zip(sample[key].bboxes, sample[key].labels, strict=True)
        ]
    metric = CocoMetric(metric='bbox', outfile_prefix=str(tmp_path / 'coco'))
    for sample in data:
        sample['gt_instances'] = sample['instances']
    found = {}
    metric.dataset_meta = {'classes': CLASSES}
    truth = metric.gt_to_coco_json(
        [
            dict(
                img_id=s['img_id'],
                width=100,
                height=100,
                anns=[
                    dict(bbox=i['bbox'], bbox_label=i['bbox_label'], ignore_flag=i['ignore_flag'])
                    for i in s['instances']
                ],
            )
            for s in data
        ],
        str(tmp_path / 'truth'),
    )
    coco = CocoMetric(ann_file=truth, metric='bbox')
    for sample in data:
        del sample['gt_instances'], sample['ignored_instances']
        sample['pred_instances'] = sample['pred_instances'].to_dict()
    found = evaluate(coco, data)
    # CocoMetric rounds to three digits.
    assert ours['robustness/AP'] == pytest.approx(found['coco/bbox_mAP'], abs=6e-4)


def result(truth, found, scores):
    return dict(
        bboxes=np.array(truth, float).reshape(-1, 4),
        labels=np.zeros(len(truth), int),
        bboxes_ignore=np.zeros((0, 4)),
        labels_ignore=np.zeros(0, int),
        found=np.array(found, float).reshape(-1, 4),
        scores=np.array(scores, float),
        found_labels=np.zeros(len(found), int),
    )


BOX, FAR = [10, 10, 30, 30], [60, 60, 80, 80]


def test_ap_by_hand():
    """One of two objects is found, after a false positive: AP is 1/2 * 1/2."""
    results = [result([BOX], [FAR], [0.9]), result([BOX], [BOX], [0.5])]
    assert voc_ap(results, 0, eval_mode='area') == pytest.approx(0.25)
    # Precision 1/2 at 6 of 11 recalls: 0, 0.1, ..., 0.5.
    assert voc_ap(results, 0, eval_mode='11points') == pytest.approx(0.5 * 6 / 11)
    # COCO has 101 recall points, 51 of them up to 0.5, at each of ten thresholds.
    assert coco_ap(results, 1) == [pytest.approx(0.5 * 51 / 101)]


@pytest.mark.parametrize(('found', 'points'), [(3, 3), (6, 7), (7, 8), (9, 10), (10, 11)])
def test_recalls_of_11points_are_those_of_matlab(found, points):
    """0:0.1:1 counts from both ends: 3 * 0.1 exceeds 3 / 10, but 1 - 4 * 0.1 is 6 / 10."""
    truth = [[0, 40 * i, 20, 40 * i + 20] for i in range(10)]
    results = [result(truth, truth[:found], np.linspace(0.9, 0.5, found))]
    assert voc_ap(results, 0, eval_mode='11points') == pytest.approx(points / 11, rel=1e-12)
    outcomes = detection_outcomes(results, 1, eval_mode='11points')
    assert outcomes.metric(np.ones((1, 1)))[0] == pytest.approx(points / 11, rel=1e-12)


def test_an_object_with_swapped_corners_is_never_found():
    swapped = [BOX[2], *BOX[1:]]
    swapped[2] = BOX[0]
    assert coco_ap([result([swapped], [BOX], [0.9])], 1) == [0.0]
    assert voc_ap([result([swapped], [BOX], [0.9])], 0, eval_mode='area') == 0


def test_no_detections_give_zero_and_no_objects_give_none():
    assert voc_ap([result([BOX], [], [])], 0, eval_mode='area') == 0
    assert coco_ap([result([BOX], [], [])], 2) == [0.0, None]
    assert voc_ap([result([], [BOX], [0.5])], 0, eval_mode='area') is None
    assert coco_ap([result([], [BOX], [0.5])], 1) == [None]


def found_in_one_image(boxes, scores):
    """AP50 and AP of these detections of one object at BOX."""
    sample = {
        'gt_instances': InstanceData(bboxes=torch.tensor([BOX]), labels=torch.tensor([0])),
        'pred_instances': InstanceData(
            bboxes=torch.tensor(boxes, dtype=torch.float32),
            scores=torch.tensor(scores),
            labels=torch.zeros(len(boxes), dtype=torch.int64),
        ),
    }
    found = evaluate(DetectionAP(), [sample])
    return found['robustness/AP50'], found['robustness/AP']


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_boxes_and_scores_that_are_not_finite(bad):
    assert found_in_one_image([BOX], [0.9]) == (1, pytest.approx(1))
    # A bad box is a false positive; a bad score ranks last.
    assert found_in_one_image([[*BOX[:3], bad]], [0.9]) == (0, 0)
    assert found_in_one_image([[*BOX[:3], bad], BOX], [0.9, 0.5]) == (0.5, pytest.approx(0.5))
    assert found_in_one_image([BOX, FAR], [bad, 0.9]) == (0.5, pytest.approx(0.5))


def test_unknown_eval_mode_and_missing_annotations_are_rejected():
    with pytest.raises(ValueError, match="eval_mode must be 'area' or '11points', got 'x'"):
        DetectionAP(eval_mode='x')
    sample = samples(images=1)[0]
    del sample['gt_instances']
    with pytest.raises(ValueError, match=r'add dict.*LoadAnnotations'):
        DetectionAP().process({}, [sample])
