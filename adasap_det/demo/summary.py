"""What the demo found: table, figure, JSON and page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table


@dataclass(frozen=True)
class Difference:
    """Elastic minus plain and its 95 % interval, in points.

    Attributes:
        estimate: On the images as they are.
        low, high: Ends of the interval over test images.
    """

    estimate: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Whether the elastic network is ahead."""
        if self.low > 0:
            return 'ahead'
        return 'behind' if self.high < 0 else 'inconclusive'


@dataclass(frozen=True)
class SizeResult:
    """Both networks at one size.

    Attributes:
        keep_ratio: Ratio of the parameters.
        ap50, mpc: By network, in percent.
        parameters: By network.
        latency_ms: By network, a forward pass of one image on one thread.
        difference: By metric, ``AP50`` and ``mPC``.
    """

    keep_ratio: float
    ap50: Mapping[str, float]
    mpc: Mapping[str, float]
    parameters: Mapping[str, int]
    latency_ms: Mapping[str, float]
    difference: Mapping[str, Difference]


@dataclass(frozen=True)
class Results:
    """All that the demo found.

    Attributes:
        seed: Of data and training.
        iterations: Length of each training.
        sizes: The sizes, the whole network first.
        fine_tuned: The smallest plain size after as many iterations again: AP50 and mPC in percent.
        against_fine_tuned: The smallest elastic size minus that, by metric.
    """

    seed: int
    iterations: int
    sizes: Sequence[SizeResult]
    fine_tuned: Mapping[str, float]
    against_fine_tuned: Mapping[str, Difference]

    def write(self, path: Path) -> None:
        """Write as JSON."""
        from adasap_det.utils.io import atomic_write

        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + '\n', 'utf-8')

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read what :meth:`write` wrote."""
        content: dict[str, Any] = json.loads(path.read_text('utf-8'))
        sizes = [
            SizeResult(**{**size, 'difference': _differences(size['difference'])})
            for size in content.pop('sizes')
        ]
        against = _differences(content.pop('against_fine_tuned'))
        return cls(**content, sizes=sizes, against_fine_tuned=against)


def _differences(content: Mapping[str, Mapping[str, float]]) -> dict[str, Difference]:
    return {name: Difference(**value) for name, value in content.items()}


HEADS = (
    'kept',
    'AP50 plain',
    'AP50 elastic',
    'difference',
    'mPC plain',
    'mPC elastic',
    'difference',
    'ms',
)


def rows(results: Results) -> list[list[str]]:
    """Rows of the table, in the order of :data:`HEADS`."""
    found = []
    for size in results.sizes:
        row = [f'{size.keep_ratio:.0%}']
        for values, name in ((size.ap50, 'AP50'), (size.mpc, 'mPC')):
            row += [f'{values["plain"]:.1f}', f'{values["elastic"]:.1f}']
            row.append(_interval(size.difference[name]))
        row.append(f'{size.latency_ms["elastic"]:.1f}')
        found.append(row)
    smallest = results.sizes[-1]
    row = [f'{smallest.keep_ratio:.0%} *']
    for name, values in (('AP50', smallest.ap50), ('mPC', smallest.mpc)):
        row += [f'{results.fine_tuned[name]:.1f}', f'{values["elastic"]:.1f}']
        row.append(_interval(results.against_fine_tuned[name]))
    return [*found, [*row, '']]


def _interval(difference: Difference) -> str:
    return f'{difference.estimate:+.1f} [{difference.low:.1f}, {difference.high:.1f}]'


def summary_table(results: Results) -> Table:
    """The table for the terminal."""
    table = Table(
        title='Two trainings of one detector, each pruned at once to any size',
        caption='* the plain network fine-tuned at this size',
        box=SIMPLE,
        padding=0,
        collapse_padding=True,
    )
    for head in HEADS:
        table.add_column(head.replace(' ', '\n'), justify='right')
    for row in rows(results):
        table.add_row(*row)
    return table


def meaning(results: Results) -> list[str]:
    """What the table says: gain, cost, and plain pruning with fine-tuning."""
    smallest = results.sizes[-1]
    difference, tuned = smallest.difference['AP50'], results.against_fine_tuned['AP50']
    ratio = f'{smallest.keep_ratio:.0%}'
    return [
        f'Pruned at once to {ratio} of its parameters, without fine-tuning, the network of the '
        f'elastic stage has AP50 {smallest.ap50["elastic"]:.1f} where the plain one has '
        f'{smallest.ap50["plain"]:.1f} ({difference.verdict}).',
        f'The elastic stage takes two passes a step, {2 * results.iterations} in all where plain '
        f'training takes {results.iterations}; all sizes come from the one run.',
        f'Fine-tuned for {results.iterations} more steps at {ratio}, the plain network reaches '
        f'{results.fine_tuned["AP50"]:.1f}, at this one size. The elastic network, without '
        f'fine-tuning, differs from that by {_interval(tuned)} ({tuned.verdict}).',
    ]


def plot(results: Results, path: Path) -> None:
    """Draw AP50 and mPC by size.

    Args:
        results: Of the demo.
        path: Image file; its suffix sets the format.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from adasap_det.utils.io import atomic_write
    from adasap_det.utils.plot_style import mark

    figure = Figure(figsize=(8.4, 3.4), layout='constrained')
    FigureCanvasAgg(figure)
    ratios = [100 * size.keep_ratio for size in results.sizes]
    for axes, metric, title in zip(
        figure.subplots(1, 2),
        ('ap50', 'mpc'),
        ('AP50, clean images', 'mPC, corrupted images'),
        strict=True,
    ):
        for index, name in ((0, 'plain'), (2, 'elastic')):
            look = mark(index)
            axes.plot(
                ratios,
                [getattr(size, metric)[name] for size in results.sizes],
                color=look.colour,
                marker=look.marker,
                label=name,
            )
        look = mark(1)
        axes.plot(
            ratios[-1:],
            [results.fine_tuned['AP50' if metric == 'ap50' else 'mPC']],
            color=look.colour,
            marker=look.marker,
            linestyle='',
            label=f'plain, fine-tuned at {ratios[-1]:.0f} %',
        )
        axes.invert_xaxis()
        axes.set_title(title, fontsize=10)
        axes.set_xlabel('parameters kept, %')
        axes.grid(linewidth=0.4, color='#d5dae0')
        axes.spines[['top', 'right']].set_visible(False)
        axes.set_ylim(bottom=0)
    figure.axes[0].legend(frameon=False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip('.'))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Train once, deploy any size</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem }}
table {{ border-collapse: collapse; display: block; overflow-x: auto }}
th, td {{ padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #d5dae0 }}
td {{ white-space: nowrap }} img {{ max-width: 100% }}
</style></head><body>
<h1>Train once, deploy any size</h1>
<p>{meaning}</p>
{figure}
<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>
<p>AP50 and mPC in percent on drawn scenes. mPC is the mean over 15 corruptions, each image at
one of the five severities. Differences are elastic minus plain, with 95 % intervals over the test
images (paired bootstrap); they say nothing about other seeds. * is the plain network fine-tuned at
that size. Milliseconds of a forward pass of one image on one thread, without NMS, elastic.</p>
<h2>Detections at {smallest}: plain, elastic</h2>
{images}
</body></html>
"""


def write_page(results: Results, path: Path, *, figure: Path, images: Sequence[Path]) -> None:
    """Write a page that shows all of it.

    Args:
        results: Of the demo.
        path: HTML file.
        figure: SVG of :func:`plot`, which is embedded.
        images: Detections, image files beside or below the page, which are linked.
    """
    from adasap_det.utils.io import atomic_write

    svg = figure.read_text('utf-8')
    text = _PAGE.format(
        meaning=' '.join(meaning(results)),
        figure=svg[svg.index('<svg') :],
        head=''.join(f'<th>{head}</th>' for head in HEADS),
        body=''.join(
            '<tr>' + ''.join(f'<td>{cell}</td>' for cell in row) + '</tr>' for row in rows(results)
        ),
        smallest=f'{results.sizes[-1].keep_ratio:.0%}',
        images='\n'.join(
            f'<p><img src="{image.relative_to(path.parent).as_posix()}" alt=""></p>'
            for image in images
        ),
    )
    with atomic_write(path) as temporary:
        temporary.write_text(text, 'utf-8')
