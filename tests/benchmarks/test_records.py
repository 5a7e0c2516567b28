"""Results of the studies: kept from one run of a script to the next."""

import json


def test_results_are_added_to_those_of_earlier_runs(script, record, tmp_path):
    records = script('records')
    path = tmp_path / 'results' / 'found.json'
    first = [record('plain', 0, 20.0, loss=0.5), record('AdaSAP', 0, 19.0)]
    assert records.merge(path, first) == first
    again, other = record('AdaSAP', 0, 21.0), record('AdaSAP', 1, 23.0)
    assert records.merge(path, [again, other]) == [first[0], again, other]
    assert len(json.loads(path.read_text())) == 3
    assert records.merge(path, []) == [first[0], again, other]
    assert records.read(path) == [first[0], again, other]
