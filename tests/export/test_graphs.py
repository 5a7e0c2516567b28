import pytest
import torch
from torch import nn

from adasap_det.export import DecodedDetector, RawNetwork, make_graph
from adasap_det.export.graphs import flat


def normalised(model, image):
    """As the data preprocessor does it."""
    data = model.data_preprocessor({'inputs': [image[0]], 'data_samples': []}, False)
    return data['inputs']


def test_normalization_is_part_of_the_graph(detector, image):
    with torch.no_grad():
        expected = flat(detector(normalised(detector, image), mode='tensor'))
        actual = RawNetwork(detector)(image)
    assert len(actual) == len(expected)
    assert all(torch.allclose(a, e, atol=1e-5) for a, e in zip(actual, expected, strict=True))


def test_boxes_match_detector_predict(detector, image):
    from mmdet.structures import DetDataSample

    size = tuple(image.shape[-2:])
    meta = dict(img_shape=size, ori_shape=size, scale_factor=(1, 1), batch_input_shape=size)
    with torch.no_grad():
        boxes, scores, labels = DecodedDetector(detector)(image)
        own = detector.predict(
            normalised(detector, image), [DetDataSample(metainfo=meta)], rescale=False
        )[0].pred_instances
    assert len(scores) == len(own.scores) > 5
    assert torch.allclose(scores, own.scores, atol=1e-5)
    assert torch.allclose(boxes, own.bboxes, atol=1e-3)
    assert torch.equal(labels, own.labels)


def test_two_stage_detector_is_an_error():
    class FasterRCNN(nn.Module):
        roi_head = None

    with pytest.raises(ValueError, match='FasterRCNN has a second stage'):
        make_graph(FasterRCNN(), nms=False)


def test_unsupported_decoding_is_an_error(detector):
    class OwnHead(nn.Module):
        prior_generator = None

        def predict_by_feat(self):
            pass

    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.bbox_head = OwnHead()
            self.data_preprocessor = nn.Identity()

    with pytest.raises(ValueError, match=r'OwnHead decodes .*predict_by_feat.* without NMS'):
        make_graph(Detector(), nms=True)


def test_unsupported_nms_is_an_error(detector, monkeypatch):
    monkeypatch.setitem(detector.test_cfg, 'nms', dict(type='soft_nms', iou_threshold=0.5))
    with pytest.raises(ValueError, match=r'soft_nms.*without NMS'):
        DecodedDetector(detector)
