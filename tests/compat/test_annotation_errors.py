import pytest
from mmdet.datasets import VOCDataset, XMLDataset

from adasap_det.compat.annotation_errors import name_broken_annotations

from ..helpers.voc_folder import make_voc


def load(root, kind=VOCDataset):
    return kind(
        data_root=str(root),
        ann_file='VOC2007/ImageSets/Main/trainval.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        metainfo=dict(classes=('cat',)),
        pipeline=[],
    )


@pytest.mark.parametrize('content', ['', '<annotation><object/></annotation>'])
@pytest.mark.parametrize('kind', [VOCDataset, XMLDataset])
def test_error_names_the_broken_annotation(tmp_path, content, kind):
    name_broken_annotations()
    voc = make_voc(tmp_path / 'VOC2007', ['a', 'b'])
    (voc / 'Annotations/b.xml').write_text(content)
    with pytest.raises(ValueError, match=r'VOC2007/Annotations/b\.xml cannot be read: .*Restore'):
        load(tmp_path, kind)


def test_valid_annotations_are_unaffected_and_patching_twice_is_harmless(tmp_path):
    name_broken_annotations()
    parse = XMLDataset.parse_data_info
    name_broken_annotations()
    assert XMLDataset.parse_data_info is parse
    make_voc(tmp_path / 'VOC2007', ['a'])
    (instance,) = load(tmp_path).get_data_info(0)['instances']
    assert instance['bbox'] == [4, 5, 29, 39]
