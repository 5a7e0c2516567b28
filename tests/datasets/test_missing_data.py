"""Missing data is reported before anything is built."""

from pathlib import Path

import pytest

from adasap_det.datasets.missing_data import MissingDataError, check_data


@pytest.fixture
def voc(tmp_path) -> Path:
    for folder in ('VOC2007/JPEGImages', 'VOC2007/ImageSets/Main'):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / 'VOC2007/ImageSets/Main/train.txt').touch()
    return tmp_path


def dataset(root, ann_file='VOC2007/ImageSets/Main/train.txt', **kwargs) -> dict:
    return dict(
        type='VOCDataset',
        data_root=str(root),
        ann_file=ann_file,
        data_prefix=dict(sub_data_root='VOC2007/'),
        **kwargs,
    )


def config(inner, stage='train') -> dict:
    return {f'{stage}_dataloader': dict(batch_size=1, dataset=inner)}


def test_complete_data_passes(voc):
    check_data(config(dataset(voc)))
    check_data({'train_dataloader': None, 'val_evaluator': None})


def test_error_names_a_missing_root_and_its_remedy(tmp_path):
    with pytest.raises(MissingDataError) as caught:
        check_data(config(dataset(tmp_path / 'data/VOCdevkit'), stage='val'))
    message = str(caught.value)
    assert message.startswith('val data (VOCDataset): data_root')
    assert str(tmp_path / 'data/VOCdevkit') in message
    assert 'python tools/prepare_voc.py' in message


def test_error_has_the_absolute_path_of_a_relative_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingDataError, match=f"'data/' does not exist .*{tmp_path}/data"):
        check_data(config(dict(type='mmdet.CocoDataset', data_root='data/')))


def test_error_names_a_missing_list_or_prefix(voc):
    with pytest.raises(MissingDataError, match=r"ann_file '.*/Main/val.txt'"):
        check_data(config(dataset(voc, 'VOC2007/ImageSets/Main/val.txt')))
    cfg = dataset(voc)
    cfg['data_prefix'] = dict(sub_data_root='VOC2012/')
    with pytest.raises(MissingDataError, match=r"sub_data_root '.*/VOC2012/'"):
        check_data(config(cfg))
    with pytest.raises(MissingDataError, match=r"data_prefix '.*/val'"):
        check_data(config(dict(type='ImageNet', data_root=str(voc), data_prefix='val')))


@pytest.mark.parametrize(
    'wrap',
    [
        lambda d: dict(type='RepeatDataset', times=2, dataset=d),
        lambda d: dict(type='ConcatDataset', datasets=[d]),
        lambda d: dict(
            type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[d, d])
        ),
    ],
)
def test_wrapped_data_sets_are_checked(voc, wrap):
    check_data(config(wrap(dataset(voc))))
    with pytest.raises(MissingDataError, match=r'none\.txt'):
        check_data(config(wrap(dataset(voc, 'none.txt'))))


def test_every_data_set_of_a_concatenation_is_checked(voc):
    both = dict(type='ConcatDataset', datasets=[dataset(voc), dataset(voc / 'other')])
    with pytest.raises(MissingDataError, match='other'):
        check_data(config(both))


def test_only_the_stages_that_run_are_checked(voc):
    cfg = {**config(dataset(voc)), **config(dataset(voc / 'none'), stage='test')}
    check_data(cfg, stages=('train', 'val'))
    with pytest.raises(MissingDataError, match=r'^test data'):
        check_data(cfg)


def test_annotations_of_the_evaluator_are_checked(tmp_path):
    with pytest.raises(MissingDataError, match=r"val evaluator: ann_file '.*/val.json'"):
        check_data({'val_evaluator': [dict(type='CocoMetric', ann_file=f'{tmp_path}/val.json')]})


def test_remote_data_is_not_checked():
    check_data(config(dict(type='CocoDataset', data_root='s3://bucket/coco', ann_file='a.json')))
    check_data(config(dataset('/nowhere', backend_args=dict(backend='petrel'))))


def test_absolute_list_is_not_joined_to_the_root(voc, tmp_path):
    (tmp_path / 'mine.txt').touch()
    check_data(config(dataset(voc, str(tmp_path / 'mine.txt'))))
