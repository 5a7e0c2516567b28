"""Prune many networks, train a step, reload and predict with each, and print a table.

python benchmarks/breadth.py                    # all, as in docs/supported.md
python benchmarks/breadth.py --only RetinaNet
python benchmarks/breadth.py --table table.md   # resumes: leaves out networks with a row there

Networks of packages that are not installed are left out; their rows in a table stay.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import io
import logging
import re
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.utils import get_installed_path
from torch import nn
from torch.utils._pytree import tree_leaves

from adasap_det import load_pruned
from adasap_det.pruning import (
    MagnitudeImportance,
    ParamsBudget,
    Pruner,
    count_macs,
    count_params,
)
from adasap_det.pruning.graph.tracing import example_image, trace_forward
from adasap_det.pruning.graph.training_pass import annotated_samples, train_forward

ROOT = Path(__file__).resolve().parents[1]
STRUCTURES = ROOT / 'benchmarks' / 'results' / 'structures'
DETECTORS = {
    'SSD300-VGG16': 'configs/ssd/ssd300_vgg16_8xb8-24e_voc0712.py',
    'SSD512-VGG16': 'mmdet::pascal_voc/ssd512_voc0712.py',
    'SSD512-ResNet-50': 'configs/ssd/ssd512_r50_8xb16-800e_voc0712.py',
    'SSDLite-MobileNetV2': 'configs/ssdlite/ssdlite224_mobilenetv2_1xb16-90e_voc0712.py',
    'RetinaNet-R50-FPN': 'configs/retinanet/retinanet_r50_fpn_1x_voc0712.py',
    'RetinaNet-R18-FPN': 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py',
    'RetinaNet-R101-FPN': 'mmdet::retinanet/retinanet_r101_fpn_1x_coco.py',
    'RetinaNet-ResNeXt-101': 'mmdet::retinanet/retinanet_x101-32x4d_fpn_1x_coco.py',
    'RetinaNet-RegNetX-800MF': 'mmdet::regnet/retinanet_regnetx-800MF_fpn_1x_coco.py',
    'RetinaNet-Swin-T': 'mmdet::swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py',
    'Faster R-CNN-R50-FPN': 'configs/faster_rcnn/faster-rcnn_r50_fpn_1x_voc0712.py',
    'Cascade R-CNN-R50-FPN': 'mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py',
    'FCOS-R50-FPN (group norm)': 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    'ATSS-R50-FPN': 'mmdet::atss/atss_r50_fpn_1x_coco.py',
    'YOLOX-tiny (CSPDarknet)': 'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py',
    'RTMDet-tiny (CSPNeXt)': 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
    'DETR-R50': 'mmdet::detr/detr_r50_8xb2-150e_coco.py',
    'DINO-R50': 'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
}
CLASSIFIERS = {
    'ResNet-18': 'mmpretrain::resnet/resnet18_8xb32_in1k.py',
    'ResNet-50': 'mmpretrain::resnet/resnet50_8xb32_in1k.py',
    'ResNeXt-50': 'mmpretrain::resnext/resnext50-32x4d_8xb32_in1k.py',
    'RegNetX-400MF': 'mmpretrain::regnet/regnetx-400mf_8xb128_in1k.py',
    'MobileNetV2': 'mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py',
    'VGG-16 (batch norm)': 'mmpretrain::vgg/vgg16bn_8xb32_in1k.py',
    'ConvNeXt-T': 'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py',
    'Swin-T': 'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py',
    'DeiT-S': 'mmpretrain::deit/deit-small_4xb256_in1k.py',
}
MORE_DETECTORS = {
    'Mask R-CNN-R50-FPN': 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'Cascade Mask R-CNN-R50-FPN': 'mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py',
    'YOLOv3-MobileNetV2': 'mmdet::yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py',
    'YOLOF-R50': 'mmdet::yolof/yolof_r50-c5_8xb8-1x_coco.py',
    'GFL-R50-FPN': 'mmdet::gfl/gfl_r50_fpn_1x_coco.py',
    'SSDLite320-MobileNetV3': 'torchvision::ssdlite320_mobilenet_v3_large',
    'RetinaNet-R50-FPN, torchvision': 'torchvision::retinanet_resnet50_fpn',
    'FCOS-R50-FPN, torchvision': 'torchvision::fcos_resnet50_fpn',
}
MORE_CLASSIFIERS = {
    'ShuffleNetV1': 'mmpretrain::shufflenet_v1/shufflenet-v1-1x_16xb64_in1k.py',
    'ShuffleNetV2': 'mmpretrain::shufflenet_v2/shufflenet-v2-1x_16xb64_in1k.py',
    'RepVGG-A0, MMPretrain': 'mmpretrain::repvgg/repvgg-A0_8xb32_in1k.py',
    **{
        name: f'torchvision::{name}'
        for name in (
            'shufflenet_v2_x1_0',
            'mobilenet_v3_large',
            'efficientnet_b0',
            'densenet121',
            'googlenet',
            'regnet_y_400mf',
            'squeezenet1_1',
            'mnasnet1_0',
            'convnext_tiny',
            'vit_b_16',
        )
    },
    'swin_t, torchvision': 'torchvision::swin_t',
    **{
        name: f'timm::{name}'
        for name in (
            'regnety_002',
            'repvgg_a0',
            'mobileone_s0',
            'mobilevit_xxs',
            'mobilenetv4_conv_small',
            'ghostnet_100',
            'efficientnet_lite0',
            'inception_v3',
            'ese_vovnet19b_dw',
            'skresnet18',
            'fastvit_t8',
            'eca_resnet33ts',
            'cspresnet50',
            'hrnet_w18_small',
            'dla34',
            'res2net50_26w_4s',
            'resnest14d',
            'convnextv2_atto',
            'deit_small_patch16_224',
            'swin_tiny_patch4_window7_224',
            'levit_128s',
        )
    },
}
OTHER_DETECTORS = {
    'RT-DETR-R18, Transformers': 'transformers::rt_detr',
    'D-FINE-S, Transformers': 'transformers::d_fine',
    'YOLOv8n, Ultralytics': 'ultralytics::yolov8n.yaml',
    'YOLO11n, Ultralytics': 'ultralytics::yolo11n.yaml',
}
NETWORKS = DETECTORS | MORE_DETECTORS | OTHER_DETECTORS | CLASSIFIERS | MORE_CLASSIFIERS
PLAIN = ('torchvision', 'timm', 'transformers', 'ultralytics')
"""Packages whose networks are no MMEngine models."""

SIDES = {
    'transformers::': 320,
    'ultralytics::': 320,
    'ssd512': 512,
    'ssd300': 300,
    'ssdlite320': 320,
    'retinanet_resnet50_fpn': 320,
    'fcos_resnet50_fpn': 320,
    'mobilevit': 256,
    'fastvit': 256,
    'inception': 299,
}
KEEP_RATIO = 0.5
HEADER = (
    '| network | pixels | channel groups | approximate | permutation error | parameters | MACs | '
    'analysis | pruning | notes |\n'
    '| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |'
)


@dataclass(frozen=True)
class Outcome:
    """Result of pruning one network.

    Attributes:
        seconds: CPU time of the analysis.
        groups: Number of prunable channel groups.
        unprunable: The other groups, each with the reason.
        params, macs: Before and after pruning.
        problem: Why pruning failed; None if it succeeded.
        prune_seconds: CPU time of selecting and removing channels.
        structure: The channel groups and the skipped layers, a line each.
        permutation_error: Largest difference of the outputs, relative to their scale, with the
            groups' channels in another order.
        approximate: Number of groups for which zeros differ from the removal of channels.
    """

    seconds: float = 0.0
    groups: int = 0
    unprunable: tuple[str, ...] = ()
    params: tuple[int, int] = (0, 0)
    macs: tuple[int, int] = (0, 0)
    problem: str | None = None
    prune_seconds: float = 0.0
    structure: str = ''
    permutation_error: float = 0.0
    approximate: int = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Prune all networks and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', help='only networks whose name contains this')
    parser.add_argument(
        '--write-structures', action='store_true', help=f'write the channel groups to {STRUCTURES}'
    )
    parser.add_argument('--table', type=Path, help='file that gets the rows, and to resume from')
    args = parser.parse_args(argv)
    rows = rows_of(args.table) if args.table and args.table.exists() else {}
    print(HEADER, flush=True)
    for name, config in NETWORKS.items():
        chosen = args.only is None or args.only in name
        if not chosen or name in rows or not installed(config):
            continue
        found = try_out(config)
        rows[name] = row(name, config, found)
        print(rows[name], flush=True)
        if args.table is not None:
            ordered = [rows[each] for each in NETWORKS if each in rows]
            args.table.write_text('\n'.join([HEADER, *ordered, '']), 'utf-8')
        if args.write_structures:
            structure_file(name).write_text(found.structure, 'utf-8')
    return 0


def rows_of(table: Path) -> dict[str, str]:
    """Rows of a table by name of the network."""
    rows = table.read_text('utf-8').splitlines()[2:]
    return {line.split('|')[1].strip(): line for line in rows}


def installed(config: str) -> bool:
    """Whether the package that a network comes from is installed."""
    package = config.rpartition('::')[0]
    return not package or importlib.util.find_spec(package) is not None


def structure_file(name: str) -> Path:
    """File of a network's channel groups, as they were when the table was made."""
    return STRUCTURES / f'{re.sub("[^a-z0-9]+", "_", name.lower()).strip("_")}.txt'


def structure_of(pruner: Pruner) -> str:
    """The channel groups and the skipped layers, a line each.

    A group has its name, number of channels, parts and positions of a channel where there are
    several, the layers that compute it and those that read it.
    """
    lines = []
    for group in pruner.groups:
        parts = f' in {group.parts} parts' if group.parts > 1 else ''
        width = f' of {group.width}' if group.width > 1 else ''
        readers = dict.fromkeys(piece.name.rpartition('.')[0] for piece in group.consumers)
        lines.append(
            f'{group.name}: {group.size}{width}{parts}; {", ".join(group.layers)} -> '
            f'{", ".join(readers)}'
        )
    for layer, reason in sorted(pruner.skipped.items()):
        lines.append(f'{layer}: skipped, {reason.partition(": ")[0]}')  # not PyTorch's message
    return '\n'.join(lines) + '\n'


def row(name: str, config: str, found: Outcome) -> str:
    """Row of the table."""
    size = 'x'.join(map(str, size_of(config)))
    if found.problem:
        return (
            f'| {name} | {size} | | | | | | {found.seconds:.1f} s | | not prunable: '
            f'{found.problem} |'
        )
    params = ' to '.join(f'{n / 1e6:.2f}' for n in found.params)
    macs = ' to '.join(f'{n / 1e9:.2f}' for n in found.macs)
    skipped = found.unprunable
    notes = f'{len(skipped)} layers skipped: {skipped[0][:90]}' if skipped else ''
    return (
        f'| {name} | {size} | {found.groups} | {found.approximate or ""} | '
        f'{found.permutation_error:.0e} | {params} M | {macs} G | {found.seconds:.1f} s | '
        f'{found.prune_seconds:.1f} s | {notes} |'
    )


def try_out(config: str) -> Outcome:
    """Prune half of the parameters, train a step, reload and compare predictions."""
    size = size_of(config)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(scope_of(config)), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        model = build(config)
        start = time.process_time()
        try:
            pruner = Pruner(
                model,
                example_image(size),
                importance=MagnitudeImportance(),
                budget=ParamsBudget(keep_ratio=KEEP_RATIO),
                round_to=8,
                prunable_outputs=features_of(model, config),
            )
        except ValueError as error:
            problem = str(error).splitlines()[0][:160]
            return Outcome(seconds=time.process_time() - start, problem=problem)
        seconds = time.process_time() - start
        structure, approximate = structure_of(pruner), len(pruner.approximate)
        params, macs = count_params(model), count_macs(model, input_size=size)
        start = time.process_time()
        try:
            pruner.prune()
        except ValueError as error:
            return Outcome(seconds, len(pruner.groups), problem=str(error)[:160])
        prune_seconds = time.process_time() - start
        train_a_step(model, config)
        reloaded = build(config)
        reload(model, reloaded)
        check_predictions(model, reloaded, config)
        unprunable = tuple(
            f'{name}, {why}' for name, why in pruner.skipped.items() if 'is an output of' not in why
        )
        return Outcome(
            seconds,
            len(pruner.groups),
            unprunable,
            (params, count_params(model)),
            (macs, count_macs(model, input_size=size)),
            prune_seconds=prune_seconds,
            structure=structure,
            permutation_error=pruner.permutation_error,
            approximate=approximate,
        )


def build(config: str) -> Any:
    """The network of a config, or of torchvision or timm, with random weights."""
    package, _, name = config.partition('::')
    if package == 'timm':
        import timm

        return timm.create_model(name, pretrained=False)
    if package == 'torchvision':
        import torchvision

        detector = name in torchvision.models.list_models(torchvision.models.detection)
        options = {'weights_backbone': None} if detector else {}
        return torchvision.models.get_model(name, weights=None, **options)
    if package == 'transformers':
        return rt_detr() if name == 'rt_detr' else d_fine()
    if package == 'ultralytics':
        import ultralytics

        return ultralytics.YOLO(name).model.requires_grad_(True)
    model = MODELS.build(read(config).model)
    initialize(model)
    return model


def rt_detr() -> nn.Module:
    """RT-DETR with ResNet-18."""
    import transformers

    backbone = transformers.RTDetrResNetConfig(
        depths=[2, 2, 2, 2],
        hidden_sizes=[64, 128, 256, 512],
        layer_type='basic',
        out_features=['stage2', 'stage3', 'stage4'],
    )
    config = transformers.RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=[128, 256, 512],
        hidden_expansion=0.5,
        decoder_layers=3,
    )
    return transformers.RTDetrForObjectDetection(config)


def d_fine() -> nn.Module:
    """D-FINE-S with HGNetV2-B0."""
    import transformers

    backbone = transformers.HGNetV2Config(
        stem_channels=[3, 16, 16],
        stage_in_channels=[16, 64, 256, 512],
        stage_mid_channels=[16, 32, 64, 128],
        stage_out_channels=[64, 256, 512, 1024],
        stage_num_blocks=[1, 1, 2, 1],
        stage_numb_of_layers=[3, 3, 3, 3],
        hidden_sizes=[64, 256, 512, 1024],
        use_learnable_affine_block=True,
        out_features=['stage2', 'stage3', 'stage4'],
    )
    config = transformers.DFineConfig(
        backbone_config=backbone,
        encoder_in_channels=[256, 512, 1024],
        hidden_expansion=0.5,
        depth_mult=0.34,
        decoder_layers=3,
    )
    return transformers.DFineForObjectDetection(config)


def features_of(model: Any, config: str) -> Sequence[str]:
    """Modules whose features a model returns beside its predictions."""
    if config.startswith('transformers'):
        return 'model.encoder', 'model.decoder'
    if config.startswith('ultralytics'):
        return [f'model.{i}' for i in model.model[-1].f]
    return ()


def scope_of(config: str) -> str:
    """Registry scope of a config."""
    return 'mmengine' if config.startswith(PLAIN) else read(config).default_scope


def read(config: str) -> Config:
    """Read a config of this package or of an OpenMMLab one, without pretrained weights."""
    package, _, name = config.rpartition('::')
    path = Path(get_installed_path(package)) / '.mim' / 'configs' / name if package else ROOT / name
    cfg = Config.fromfile(path)
    for node in _nodes(cfg.model):
        if isinstance(node, dict):
            node.pop('init_cfg', None)
            node.pop('pretrained', None)
    return cfg


def initialize(model: Any) -> None:
    """Initialise the weights; DINO's ``level_embed`` has no values before."""
    logging.disable(logging.INFO)  # a paragraph for each parameter
    model.init_weights()
    logging.disable(logging.NOTSET)


def size_of(config: str) -> tuple[int, int]:
    """Input size in pixels: small, or the network's own where that is fixed."""
    for name, side in SIDES.items():
        if name in config:
            return side, side
    return (224, 224) if config.startswith(('mmpretrain', *PLAIN)) else (320, 320)


def train_a_step(model: Any, config: str) -> None:
    """Take one step of SGD on noise: the losses of detectors and classifiers of OpenMMLab."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    results = train_forward(model, example_image(size_of(config)))
    loss = sum(each.mean() for each in tensors(results) if each.requires_grad)
    loss.backward()
    if not any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters()):
        raise AssertionError('no gradient reached a parameter')
    optimizer.step()


def reload(model: nn.Module, dense: nn.Module) -> None:
    """Save the pruned model and load it into the dense one."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    load_pruned(dense, torch.load(buffer, weights_only=True))


def check_predictions(model: Any, reloaded: Any, config: str) -> None:
    """Raise AssertionError unless both models predict the same."""
    inputs = example_image(size_of(config)).repeat(2, 1, 1, 1)
    samples = annotated_samples(model, inputs)
    found = []
    for network in (model, reloaded):
        network.eval()
        with torch.no_grad():
            if samples is None:
                found.append(tensors(trace_forward(network, inputs)))
                continue
            result = network.predict(inputs, copy.deepcopy(samples))[0]
            found.append(
                result.pred_score if hasattr(result, 'pred_score') else result.pred_instances.scores
            )
    torch.testing.assert_close(*found)


def tensors(results: Any) -> list[torch.Tensor]:
    """The tensors of nested outputs."""
    return [leaf for leaf in tree_leaves(results) if isinstance(leaf, torch.Tensor)]


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    children = node.values() if isinstance(node, dict) else node
    if isinstance(node, (dict, list, tuple)):
        for child in children:
            yield from _nodes(child)


if __name__ == '__main__':
    sys.exit(main())
