import json

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS

from adasap_det.datasets.objectnet import objectnet_mapping


@pytest.fixture
def root(tmp_path):
    """Small ObjectNet: three objects, two of them in ImageNet."""
    mappings = tmp_path / 'mappings'
    mappings.mkdir()
    files = {
        'folder_to_objectnet_label.json': {
            'alarm_clock': 'Alarm clock',
            'air_freshener': 'Air freshener',
            'bench': 'Bench',
        },
        'objectnet_to_imagenet_1k.json': {
            'Alarm clock': 'analog clock; digital clock',
            'Bench': 'park bench',
        },
        # PyTorch's class number -> index in the list of labels, in another order.
        'pytorch_to_imagenet_2012_id.json': {'0': 2, '1': 0, '2': 1},
    }
    for name, content in files.items():
        (mappings / name).write_text(json.dumps(content))
    (mappings / 'imagenet_to_label_2012_v2').write_text('park bench\nanalog clock\ndigital clock\n')
    for folder in files['folder_to_objectnet_label.json']:
        (tmp_path / 'images' / folder).mkdir(parents=True)
        image = np.zeros((4, 4, 3), np.uint8)
        cv2.imwrite(str(tmp_path / 'images' / folder / 'a.png'), image)
    return tmp_path


def test_objects_have_pytorchs_class_numbers(root):
    assert objectnet_mapping(root / 'mappings') == {'alarm_clock': [0, 2], 'bench': [1]}


def test_data_set_finds_the_files_and_ignores_unknown_objects(root):
    data = DATASETS.build(
        dict(type='MappedFolder', data_root=str(root / 'images'), mapping='objectnet')
    )
    infos = [data.get_data_info(i) for i in range(len(data))]
    assert [(i['img_path'].split('/')[-2], i['gt_label']) for i in infos] == [
        ('alarm_clock', [0, 2]),
        ('bench', 1),
    ]


def test_error_names_a_missing_file(root):
    (root / 'mappings' / 'imagenet_to_label_2012_v2').unlink()
    with pytest.raises(ValueError, match=r'imagenet_to_label_2012_v2 cannot be read .*"mappings"'):
        objectnet_mapping(root / 'mappings')


def test_error_names_an_unknown_label(root):
    (root / 'mappings' / 'imagenet_to_label_2012_v2').write_text('park bench\nanalog clock\n')
    with pytest.raises(ValueError, match="'digital clock' of 'Alarm clock' is no label"):
        objectnet_mapping(root / 'mappings')
