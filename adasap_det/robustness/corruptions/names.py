"""Names of the corruptions and their severities, as in Michaelis et al. 2019."""

from __future__ import annotations

from collections.abc import Iterable

#: The 15 corruptions of the benchmark, by family, in the order of the paper's tables.
FAMILIES: dict[str, tuple[str, ...]] = {
    'noise': ('gaussian_noise', 'shot_noise', 'impulse_noise'),
    'blur': ('defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur'),
    'weather': ('snow', 'frost', 'fog', 'brightness'),
    'digital': ('contrast', 'elastic_transform', 'pixelate', 'jpeg_compression'),
}
BENCHMARK: tuple[str, ...] = tuple(name for family in FAMILIES.values() for name in family)
#: Held out for tuning; never part of a reported mPC.
VALIDATION: tuple[str, ...] = ('speckle_noise', 'gaussian_blur', 'spatter', 'saturate')
CORRUPTIONS: tuple[str, ...] = BENCHMARK + VALIDATION
SEVERITIES: tuple[int, ...] = (1, 2, 3, 4, 5)


def check_corruptions(names: Iterable[str]) -> tuple[str, ...]:
    """Expand names to a tuple without duplicates; ``'benchmark'``, ``'validation'``, ``'all'`` and
    families (``'noise'``, …) stand for their members.

    Raises:
        ValueError: If a name is unknown.
    """
    sets = {'benchmark': BENCHMARK, 'validation': VALIDATION, 'all': CORRUPTIONS, **FAMILIES}
    found: dict[str, None] = {}
    for name in names:
        if name not in sets and name not in CORRUPTIONS:
            raise ValueError(
                f'unknown corruption {name!r}; choose from {", ".join(CORRUPTIONS)}, or from the '
                f'sets {", ".join(sets)}'
            )
        found.update(dict.fromkeys(sets.get(name, (name,))))
    return tuple(found)


def check_severities(severities: Iterable[int]) -> tuple[int, ...]:
    """Return the severities as a sorted tuple without duplicates.

    Raises:
        ValueError: If one is not 1, 2, 3, 4 or 5.
    """
    found = set()
    for severity in severities:
        if isinstance(severity, bool) or severity not in SEVERITIES:
            raise ValueError(f'severity {severity!r} is not one of 1, 2, 3, 4, 5')
        found.add(int(severity))
    return tuple(sorted(found))
