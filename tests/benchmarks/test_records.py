"""Results of the studies: kept from one run of a script to the next."""

import json
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Result:
    name: str
    value: float
    parts: tuple[float, ...]

    @property
    def key(self):
        return (self.name,)


@pytest.fixture
def records(script):
    return script('records')


def test_results_are_added_to_those_of_earlier_runs(records, tmp_path):
    path = tmp_path / 'results' / 'found.json'
    first = [Result('plain', 20.0, (1.0, 2.0)), Result('AdaSAP', 19.0, (3.0,))]
    assert records.merge(path, first, Result) == first
    again, other = Result('AdaSAP', 21.0, (4.0,)), Result('SAM', 23.0, ())
    assert records.merge(path, [again, other], Result) == [first[0], again, other]
    assert len(json.loads(path.read_text())) == 3
    assert records.merge(path, [], Result) == [first[0], again, other]
    assert records.read(path, Result) == [first[0], again, other]
