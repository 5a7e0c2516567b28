"""The pinned versions of constraints.txt."""

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import Version

CONSTRAINTS = Path(__file__).parents[1] / 'constraints.txt'


def test_pinned_packages_support_the_first_release_of_this_python():
    """Debian 12 has 3.11.2: a package that needs 3.11.5 cannot be installed there."""
    first = f'{sys.version_info.major}.{sys.version_info.minor}.0'
    pins = re.findall(r'^([\w.-]+)==([^\s;]+)', CONSTRAINTS.read_text('utf-8'), re.M)
    unsupported, seen = [], 0
    for name, version in pins:
        try:
            installed = metadata(name)
        except PackageNotFoundError:  # of another system or Python
            continue
        if Version(installed['Version']).public != Version(version).public:  # of another stack
            continue
        seen += 1
        needs = installed.get('Requires-Python')
        if needs and first not in SpecifierSet(needs):
            unsupported.append(f'{name} needs Python {needs}')
    assert seen > 20
    assert not unsupported
