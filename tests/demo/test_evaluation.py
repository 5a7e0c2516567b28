import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from adasap_det.datasets import make_shapes_voc
from adasap_det.demo.evaluation import Scenes, ap50, corrupt_images, summary
from adasap_det.demo.settings import FAST, IMAGE_SIZE, load_config
from adasap_det.robustness.corruptions import BENCHMARK, corrupt
from adasap_det.robustness.results import CLEAN


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp('scenes')
    data = make_shapes_voc(root / 'data', num_train=1, num_val=1, num_test=6, image_size=IMAGE_SIZE)
    paths = sorted((data / 'JPEGImages').glob('test_*.jpg'))
    corrupt_images(paths, root / 'corrupted.npz')
    return root, paths


def test_every_image_has_each_corruption_at_one_severity(images):
    import cv2

    root, paths = images
    with np.load(root / 'corrupted.npz') as file:
        assert file.files == list(BENCHMARK)
        for shift, name in ((0, BENCHMARK[0]), (9, BENCHMARK[9])):
            assert file[name].shape == (6, IMAGE_SIZE, IMAGE_SIZE, 3)
            for index, path in enumerate(paths):
                wanted = corrupt(
                    cv2.imread(str(path))[..., ::-1].copy(),
                    corruption=name,
                    severity=1 + (index + shift) % 5,
                    image_id=path.stem,
                )
                assert np.array_equal(file[name][index][..., ::-1], wanted)


class _Perfect(torch.nn.Module):
    """Finds every object in images that are as bright as the clean ones, and none elsewhere."""

    def __init__(self, brightness):
        super().__init__()
        self._brightness = brightness

    def test_step(self, batch):
        for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True):
            truth = sample.gt_instances
            known = float(image.float().mean()) in self._brightness
            sample.pred_instances = InstanceData(
                bboxes=truth.bboxes.tensor if hasattr(truth.bboxes, 'tensor') else truth.bboxes,
                labels=truth.labels,
                scores=torch.ones(len(truth.labels)),
            )[: len(truth.labels) if known else 0]
        return batch['data_samples']


def test_scores_are_those_of_the_clean_and_of_the_corrupted_images(images):
    import cv2

    root, paths = images
    cfg = load_config('dense', FAST, work_dir=root, seed=0)
    scenes = Scenes(cfg, root / 'corrupted.npz')
    clean = {float(torch.from_numpy(cv2.imread(str(p))).float().mean()) for p in paths}
    found = dict(scenes.outcomes(_Perfect(clean)))
    assert len(found) == scenes.cells == 16
    assert summary(found) == {'P': 1.0, 'mPC': 0.0}
    assert ap50(found[CLEAN]) == 1.0
    assert all(each.images == 6 for each in found.values())
