"""Packaging. Settings of the development tools are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r"^__version__ = '(.+)'$", (ROOT / 'adasap_det/__init__.py').read_text('utf-8'), re.M
).group(1)
README = ROOT / 'README.md'

# The two families install the same modules, so neither can be required unconditionally.
ONEDL = ['onedl-mmengine>=0.10.10', 'onedl-mmcv>=2.3', 'onedl-mmdetection>=3.5']
OPENMMLAB = ['mmengine>=0.10.4', 'mmcv>=2.0.1', 'mmdet>=3.3']
TEST = [
    # The reference of the surgery's tests.
    'torch-pruning>=1.5,<2',
    'ipykernel>=6.29',
    'nbclient>=0.10',
    'nbformat>=5.9',
    'pytest>=8',
    'pytest-timeout>=2.3',
    'pytest-xdist>=3.6',
    'safetensors>=0.4',
    'selenium>=4.20',
    'setuptools>=64',
    'tensorboard>=2.10',
    'wheel',
]
# timm has the MobileNet-V1 that mmpretrain lacks.
CLASSIFICATION = ['onedl-mmpretrain>=1.3', 'timm>=1.0']
EXPORT = ['onnx>=1.16', 'onnxruntime>=1.17', 'torchao>=0.13']
CLUSTER = ['distributed>=2024.1']
DOCS = ['sphinx>=8', 'myst-parser>=4', 'furo>=2024.8']
LINT = ['ruff>=0.9', 'mypy>=1.14']

setup(
    name='adasap-det',
    version=VERSION,
    description='AdaSAP, Adaptive Sharpness-Aware Pruning, for MMDetection and MMEngine',
    long_description=README.read_text('utf-8') if README.is_file() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    keywords=['object detection', 'pruning', 'robustness', 'sharpness-aware minimization'],
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    python_requires='>=3.10,<3.13',
    packages=find_packages(include=['adasap_det', 'adasap_det.*']),
    # .mim holds links to configs, tools and model-index.yml of the checkout; MANIFEST.in names the
    # files behind them.
    include_package_data=True,
    install_requires=[
        'numpy>=1.24',
        'scipy>=1.10',
        'filelock>=3.12',
        'Jinja2>=3.1',
        'matplotlib>=3.8',
        # Only for its images of frost.
        'imagecorruptions-imaug>=1.1.5',
        'Pillow>=10',
        'rich>=13',
        'torch>=2.1',
        'torchvision>=0.16',
    ],
    extras_require={
        'onedl': ONEDL,
        'openmmlab': OPENMMLAB,
        'classification': CLASSIFICATION,
        'test': TEST,
        'export': EXPORT,
        'cluster': CLUSTER,
        'docs': DOCS,
        'dev': [
            *ONEDL,
            *CLASSIFICATION,
            *EXPORT,
            *CLUSTER,
            *TEST,
            *DOCS,
            *LINT,
            'pre-commit>=4',
        ],
    },
    entry_points={
        'console_scripts': [
            'adasap-train = adasap_det.cli.train:main',
            'adasap-test = adasap_det.cli.test:main',
            'adasap-prune = adasap_det.cli.prune:main',
            'adasap-export = adasap_det.cli.export:main',
            'adasap-benchmark = adasap_det.cli.benchmark:main',
            'adasap-measure-rise = adasap_det.cli.measure_rise:main',
            'adasap-plot-landscape = adasap_det.cli.plot_landscape:main',
            'adasap-make-voc-c = adasap_det.cli.make_voc_c:main',
            'adasap-test-robustness = adasap_det.cli.test_robustness:main',
            'adasap-robustness-report = adasap_det.cli.robustness_report:main',
        ],
    },
    zip_safe=False,
)
