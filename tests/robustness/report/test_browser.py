"""The page in a real browser: Chromium without a window, at the size of a desk and of a phone."""

from __future__ import annotations

import json
import shutil

import pytest

from adasap_det.robustness.report import write_report
from adasap_det.robustness.results import load_results

from ...helpers.result_folders import CLASSES, make_results
from .conftest import EXAMPLE_KEYS

pytestmark = pytest.mark.slow

NASTY = '<script>document.title = "broken"</script> a&b"c'
FLAGS = (
    '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--disable-dev-shm-usage',
)  # fmt: skip
FIGURES = (
    'heat-0', 'heat-1', 'heat-2', 'difference-0-1', 'difference-0-2', 'difference-1-2',
    'curve-all', 'curve-noise', 'curve-blur', 'curve-weather', 'curve-digital', 'scatter-params',
    'scatter-latency', 'channels-0-0', 'channels-0-1', 'channels-0-2',
)  # fmt: skip


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    webdriver = pytest.importorskip('selenium.webdriver')
    names = ('chromium', 'chromium-browser', 'google-chrome')
    program = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which('chromedriver')
    if program is None or driver is None:
        pytest.skip('needs Chromium and chromedriver on the PATH')
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f'--user-data-dir={tmp_path_factory.mktemp("browser")}'):
        options.add_argument(flag)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    service = webdriver.ChromeService(executable_path=driver)
    running = webdriver.Chrome(options=options, service=service)
    yield running
    running.quit()


@pytest.fixture(scope='module')
def page(tmp_path_factory, folders):
    """Two models, and a third one whose names are nasty."""
    root = tmp_path_factory.mktemp('report')
    classes = (NASTY, *CLASSES[1:])
    options = [
        ('dense', 'Dense SSD300', {}),
        ('pruned', NASTY, {'clean': 0.668, 'robustness': 0.93, 'kept': 0.5}),
        ('adasap', 'AdaSAP 50 %', {'clean': 0.681, 'robustness': 1.22, 'kept': 0.49}),
    ]
    made = [
        make_results(root / folder, name, seed=i, classes=classes, examples=EXAMPLE_KEYS, **values)
        for i, (folder, name, values) in enumerate(options)
    ]
    results = [load_results(folder) for folder in made]
    return write_report(results, root / 'out', title=f'Report {NASTY}')


@pytest.fixture(params=[(1280, 800, False), (375, 667, True)], ids=['desk', 'phone'])
def opened(request, browser, page):
    width, height, mobile = request.param
    size = dict(width=width, height=height, deviceScaleFactor=1, mobile=mobile)
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', size)
    browser.get_log('browser')
    browser.get_log('performance')
    browser.get(page.as_uri())
    return browser, width


def test_no_console_messages_and_no_network_requests(opened, page):
    browser, _ = opened
    assert browser.get_log('browser') == []
    events = [json.loads(entry['message'])['message'] for entry in browser.get_log('performance')]
    asked = {
        event['params']['request']['url']
        for event in events
        if event['method'] == 'Network.requestWillBeSent'
    }
    assert page.as_uri() in asked
    assert {url.partition(':')[0] for url in asked} <= {'file', 'data'}
    assert {url for url in asked if url.startswith('file:')} == {page.as_uri()}


def test_every_figure_and_image_is_visible(opened):
    browser, width = opened
    for name in FIGURES:
        box = browser.execute_script(
            'const b = document.getElementById(arguments[0])?.getBoundingClientRect();'
            'return b && [b.left, b.right, b.width, b.height]',
            name,
        )
        assert box is not None, name
        left, right, wide, high = box
        assert wide >= min(300, width - 40) and high > 60, name
        assert left >= 0 and right <= width + 0.5, name
    broken = browser.execute_script(
        'return [...document.images].filter(i => !(i.complete && i.naturalWidth > 100)).length'
    )
    assert browser.execute_script('return document.images.length') == 48 and broken == 0


def sideways(browser):
    """Pixels that the page is wider than the window."""
    return browser.execute_script(
        'const e = document.documentElement; return e.scrollWidth - e.clientWidth'
    )


def test_the_page_does_not_scroll_sideways(opened):
    browser, width = opened
    assert browser.execute_script('return window.innerWidth') == width
    assert sideways(browser) == 0


def test_text_is_large_enough_to_read(opened):
    browser, _ = opened
    smallest = browser.execute_script(
        'return Math.min(...[...document.querySelectorAll("svg text")].map(t => '
        'parseFloat(getComputedStyle(t).fontSize)'
        ' * Math.hypot(t.getScreenCTM().a, t.getScreenCTM().b)))'
    )
    assert smallest >= 8.5  # CSS pixels


def test_texts_of_a_figure_do_not_overlap(opened):
    browser, _ = opened
    pairs = browser.execute_script(
        """
        const found = [];
        for (const svg of document.querySelectorAll('svg.figure')) {
          const boxes = [...svg.querySelectorAll('text')].map(
            t => [t.textContent, t.getBoundingClientRect()]);
          for (const [i, [one, a]] of boxes.entries())
            for (const [two, b] of boxes.slice(i + 1))
              if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
                  Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4)
                found.push([svg.id, one, two]);
        }
        return found;
        """
    )
    assert pairs == []


def test_names_with_markup_are_shown_as_text(opened):
    browser, _ = opened
    assert browser.title == f'Report {NASTY}'
    assert browser.execute_script('return document.querySelectorAll("script").length') == 0
    for selector, where in (
        ('h1', 'heading'), ('#models th', 'models'), ('#classes th', 'classes'),
        ('.images figcaption', 'images'), ('#scatter', 'scatter'), ('#measured th', 'facts'),
    ):  # fmt: skip
        texts = browser.execute_script(
            'return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)', selector
        )
        start = NASTY[:20] if where == 'scatter' else NASTY
        assert any(start in text for text in texts), where


def test_layer_table_expands(opened):
    browser, _ = opened
    details = browser.execute_script('return document.querySelector("#channels details")')
    browser.execute_script('arguments[0].open = true', details)
    rows = browser.execute_script(
        'return arguments[0].querySelectorAll("tbody tr").length', details
    )
    assert rows == 66
    assert sideways(browser) == 0
