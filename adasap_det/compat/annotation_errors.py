"""Name the annotation file that MMDetection cannot read (mmdet 3.3.0, onedl-mmdetection 3.5.1)."""

from __future__ import annotations

import functools
from typing import Any
from xml.etree.ElementTree import ParseError

_MARK = '_adasap_det_names_file'


def name_broken_annotations() -> None:
    """Let ``XMLDataset`` and its subclasses name the file when an annotation cannot be read.

    Unpatched they raise ``ParseError: no element found`` or ``AttributeError: 'NoneType' ...``
    without the name of the file. Calling it again changes nothing.
    """
    from mmdet.datasets import XMLDataset

    parse = XMLDataset.parse_data_info
    if getattr(parse, _MARK, False):
        return

    @functools.wraps(parse)
    def parse_data_info(self: Any, img_info: dict[str, Any]) -> dict[str, Any] | list[Any]:
        try:
            return parse(self, img_info)
        except (ParseError, AttributeError, TypeError, ValueError, OSError) as error:
            raise ValueError(
                f'{img_info["xml_path"]} cannot be read: {type(error).__name__}: {error}. Restore '
                f'the file, for instance by unpacking the data set again, or remove the image '
                f'from the list {self.ann_file}'
            ) from error

    setattr(parse_data_info, _MARK, True)
    XMLDataset.parse_data_info = parse_data_info
