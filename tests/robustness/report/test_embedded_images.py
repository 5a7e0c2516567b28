from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image

from adasap_det.robustness.report.comparison import compare
from adasap_det.robustness.report.embedded_images import image_rows
from adasap_det.robustness.results import load_results

from ...helpers.result_folders import make_results


def decoded(shown):
    head, _, data = shown.uri.partition(',')
    assert head == 'data:image/jpeg;base64'
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_one_row_for_clean_and_each_corruption_with_all_models(comparison):
    rows = image_rows(comparison)
    assert [row.label for row in rows][:3] == ['Clean', 'Gaussian noise', 'Shot noise']
    assert len(rows) == 16
    assert all([p.model for p in row.images] == [0, 1, 2] for row in rows)
    assert decoded(rows[0].images[0]).size == (480, 360)
    assert rows[1].images[0].uri != rows[1].images[1].uri


def test_images_are_downscaled_to_fit_the_budget(comparison):
    rows = image_rows(comparison, budget=100_000)
    sizes = [len(base64.b64decode(p.uri.partition(',')[2])) for r in rows for p in r.images]
    assert 0 < sum(sizes) <= 100_000
    assert rows[0].images[0].width < 480


def test_severity_of_most_models_is_chosen_then_the_middle_one(model):
    one = model('one', examples=[('fog', 3), ('fog', 5), ('snow', 1), ('snow', 4)])
    two = model('two', examples=[('fog', 5)])
    rows = {row.label: row for row in image_rows(compare([one, two]))}
    assert rows['Fog'].severity == 5 and len(rows['Fog'].images) == 2
    assert rows['Snow'].severity == 4 and len(rows['Snow'].images) == 1


def test_no_rows_without_images(model):
    assert image_rows(compare([model()])) == []


def test_missing_and_truncated_files_are_reported(tmp_path):
    folder = make_results(tmp_path / 'a', 'a', examples=[('fog', 3), ('snow', 3), ('frost', 3)])
    results = load_results(folder)
    (folder / 'images/fog-3.jpg').unlink()
    data = (folder / 'images/snow-3.jpg').read_bytes()
    (folder / 'images/snow-3.jpg').write_bytes(data[: len(data) // 2])
    rows = {row.label: row.images[0] for row in image_rows(compare([results]))}
    assert rows['Fog'].problem == 'fog-3.jpg is missing' and not rows['Fog'].uri
    assert rows['Snow'].problem == 'snow-3.jpg cannot be read'
    assert rows['Frost'].uri and not rows['Frost'].problem


def test_files_outside_the_image_folder_are_rejected(tmp_path):
    folder = make_results(tmp_path / 'a', 'a', examples=[('fog', 3)])
    secret = tmp_path / 'secret.jpg'
    (folder / 'images/fog-3.jpg').rename(secret)
    path = folder / 'images/images.json'
    listed = json.loads(path.read_text('utf-8'))
    for file in ('../../secret.jpg', str(secret)):
        listed[0]['file'] = file
        path.write_text(json.dumps(listed), 'utf-8')
        with pytest.raises(ValueError, match=r'secret\.jpg'):
            image_rows(compare([load_results(folder)]))
