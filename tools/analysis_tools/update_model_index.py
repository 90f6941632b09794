"""Write the metafile of a model family, and the tables and commands in its README.

Parameters and multiply-adds are counted on the built models. Published figures come from ``published.yml`` beside the
configs, published recipes from ``recipes.yml``; both are compared with the configs. Published commands come from
``commands.yml``.
"""

import argparse
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import torch
import yaml
from get_flops import build_model, fix_regions, make_inputs
from mmengine.config import Config
from mmengine.registry import init_default_scope
from model_recipes import compare
from model_training import describe_training
from model_usage import citation, usage
from torch._subclasses.fake_tensor import FakeTensorMode

from vil_mm.apis import count_macs, image_size
from vil_mm.engine.published import read_rows

ROOT = Path(__file__).parents[2]
TOOL = 'tools/analysis_tools/update_model_index.py'
#: What published.yml may say of a model, what the metafile calls it, and the head of its column.
PUBLISHED = dict(
    top1=('Top 1 Accuracy', 'top-1'),
    top5=('Top 5 Accuracy', 'top-5'),
    real=('ImageNet-ReaL Top 1 Accuracy', 'ReaL'),
    box_map=('box AP', 'box AP'),
    mask_map=('mask AP', 'mask AP'),
    miou=('mIoU', 'mIoU'),
    parameters=('Parameters (M)', 'M params'),
    gmacs=('FLOPs (G)', 'GMACs'),
    memory=('Memory (GB)', 'GB'),
    drop_path=('Drop Path Rate', 'drop path'),
    schedule=('Schedule', 'schedule'),
    pretrain=('Pre-training Data', 'pre-trained on'),
)
TASKS = dict(
    mmpretrain=['Image Classification'],
    mmdet=['Object Detection', 'Instance Segmentation'],
    mmseg=['Semantic Segmentation'],
)
#: The blocks of a README, by the library whose models they list.
BLOCKS = dict(mmpretrain='models', mmdet='detectors', mmseg='segmenters')


def read_model(scope: str, model: str) -> Config:
    """Make a config of a library's model from its text."""
    return Config.fromstring(f'default_scope = {scope!r}\nmodel = {model}', '.py')


@cache
def count_parameters(scope: str, model: str) -> int:
    """Count the parameters of a model.

    Args:
        scope (str): Its library.
        model (str): Its config. Configs that share a model are counted once.
    """
    with torch.device('meta'):  # shapes are enough
        return sum(p.numel() for p in build_model(read_model(scope, model)).parameters())


@cache
def count_multiply_adds(scope: str, model: str, size: tuple[int, int]) -> int:
    """Count the multiply-adds of a model, for an image of a height and width; see :func:`count_parameters`."""
    cfg = read_model(scope, model)
    with FakeTensorMode():  # nothing is initialized or computed
        built = build_model(cfg)
        fix_regions(built)
        return count_macs(built, make_inputs(cfg, size), mode='tensor')['']


def describe(path: Path, row: dict | None, known: dict | None) -> dict:
    """Describe the model of a config, as an entry of the model index.

    Args:
        path (Path): The config.
        row (dict, optional): What ``published.yml`` says of it.
        known (dict, optional): Metadata with its parameters and multiply-adds,
            which are counted otherwise.

    Returns:
        dict: The entry.
    """
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    size = image_size(cfg)
    model = cfg.model.to_dict()
    for key in ('init_cfg', 'drop_path_rate'):  # which have no parameters
        model['backbone'].pop(key, None)
    known = known or {
        'Parameters': count_parameters(cfg.default_scope, str(model)),
        'FLOPs': count_multiply_adds(cfg.default_scope, str(model), size),
    }
    shown = size[0] if size[0] == size[1] else f'{size[0]}x{size[1]}'
    metadata = {'Parameters': known['Parameters'], 'FLOPs': known['FLOPs'], 'Image Size': shown}
    metadata |= {**describe_training(cfg), 'Weights': 'none offered'}
    entry = {'Name': path.stem, 'Config': str(path.relative_to(ROOT)), 'Metadata': metadata}
    if row:
        published = {label: row[key] for key, (label, _) in PUBLISHED.items() if row.get(key) is not None}
        for key, value in row.get('elsewhere', {}).items():
            if key != 'page':
                published[f'{PUBLISHED[key][0]}, as {row["elsewhere"]["page"]} says'] = value
        if published:
            metadata['Published'] = published
        if 'file' in row:
            entry['Converted From'] = {
                'Weights': row['file'],
                'Converter': f'tools/model_converters/{row["converter"]}',
            }
            if row['code']:
                entry['Converted From']['Code'] = row['code']
    tasks = TASKS[cfg.default_scope]
    if cfg.default_scope == 'mmdet' and 'mask_head' not in cfg.model.get('roi_head', {}):
        tasks = tasks[:1]
    # metrics are for what was measured here
    entry['Results'] = [{'Task': task, 'Dataset': metadata['Training Data'][-1], 'Metrics': None} for task in tasks]
    return entry


def format_table(rows: list[list[str]], left: int = 1) -> str:
    """Write a table in Markdown; columns after the first ``left`` ones are aligned to the right."""
    widths = [max(3, *map(len, column)) for column in zip(*rows)]
    rule = ['-' * width if i < left else '-' * (width - 1) + ':' for i, width in enumerate(widths)]
    aligned = [
        [cell.ljust(width) if i < left else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))]
        for row in (rows[0], rule, *rows[1:])
    ]
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in aligned)


def models_table(models: list[dict], rows: dict[str, dict], folder: Path) -> str:
    """List models with our figures and the published ones."""
    keys = [key for key in PUBLISHED if any(rows.get(model['Name'], {}).get(key) is not None for model in models)]
    if models[0]['Results'][0]['Task'] == 'Image Classification':
        keys = [key for key in keys if key != 'pretrain']
    heads = [PUBLISHED[key][1] for key in keys]
    table = [['config', 'pixels', 'parameters', 'GMACs']]
    table[0] += [f'published: {head}' if i == 0 else head for i, head in enumerate(heads)]
    for model in models:
        metadata, row = model['Metadata'], rows.get(model['Name'], {})
        link = f'[{model["Name"]}]({(ROOT / model["Config"]).relative_to(folder)})'
        gmacs = metadata['FLOPs'] / 1e9
        line = [link, str(metadata['Image Size']), f'{metadata["Parameters"]:,}']
        line.append(f'{gmacs:.3f}' if gmacs < 100 else f'{gmacs:.1f}')
        for key in keys:
            values = [row.get(key), row.get('elsewhere', {}).get(key)]
            line.append(' or '.join(str(value) for value in values if value is not None))
        table.append(line)
    return format_table(table)


def files_table(rows: list[dict]) -> str:
    """List the published files, and what to name the converted ones."""
    files = {}
    for row in rows:
        for published in (row.get('pretraining'), row):
            if published and 'file' in published:
                files.setdefault(published['checkpoint'], published)
    table = [['converted file', 'published file']]
    for name, published in files.items():
        file = published['file']
        shown = (
            '/'.join(file.split('/')[-2:])
            if file.endswith(('model_best.pth', 'model_final.pth'))
            else file.split('/')[-1]
        )
        table.append([f'`checkpoints/{name}`', f'[{shown.split("?")[0]}]({file})' if '//' in file else f'`{file}`'])
    return format_table(table, left=2)


def recipes_table(folder: Path) -> str:
    """Compare the published recipes with the configs."""
    table = [['recipe', 'setting', 'published', 'here', 'why']]
    last = None
    for line in compare(folder):
        table.append([line.recipe if line.recipe != last else '', *line[1:]])
        last = line.recipe
    return format_table(table, left=5)


def commands_table(folder: Path) -> str:
    """List the commands that the publications state, with shortened arch strings, and ours."""
    table = [['to', 'published', 'here']]
    for command in yaml.safe_load((folder / 'commands.yml').read_text()):
        published = re.sub(r'(l1,h\d+),\S+', r'\1,...', command['published'])
        here = [*(f'`{line}`' for line in command['here']), *filter(None, [command.get('note')])]
        table.append([command['what'], f'`{published}`', '<br>'.join(here)])
    return format_table(table, left=3)


def update(folder: Path, known: Mapping[str, dict] = MappingProxyType({})) -> dict[Path, str]:
    """Make the new contents of a family's metafile and README.

    Args:
        folder (Path): The family's configs, with ``published.yml``, and the
            two files as they are.
        known (Mapping[str, dict]): The metadata of models whose parameters and
            multiply-adds are not counted anew, by name.

    Returns:
        dict[Path, str]: The texts, by file.

    Raises:
        ValueError: If ``published.yml`` names a config that is not there, or a
            README has no place for a table.
    """
    all_rows = read_rows(folder)
    # several rows may be of one model; the first says most
    rows = {row['config']: row for row in reversed(all_rows) if 'config' in row}
    rows |= {row['pretraining']['config']: row['pretraining'] for row in all_rows if 'pretraining' in row}
    paths = [
        *sorted(folder.glob('*.py')),
        *sorted(folder.glob('detection/*.py')),
        *sorted(folder.glob('segmentation/*.py')),
    ]
    unknown = rows.keys() - {path.stem for path in paths}
    if unknown:
        raise ValueError(f'{folder}/published.yml names configs that are not there: {sorted(unknown)}')
    models = [describe(path, rows.get(path.stem), known.get(path.stem)) for path in paths]
    blocks = dict(usage=usage(folder), citation=citation(folder))
    for scope, name in BLOCKS.items():
        members = [model for model in models if model['Results'][0]['Task'] in TASKS[scope]]
        if members:
            blocks[name] = models_table(members, rows, folder)
    if any('file' in row for row in all_rows):
        blocks['files'] = files_table(all_rows)
    if (folder / 'recipes.yml').is_file():
        blocks['recipes'] = recipes_table(folder)
    if (folder / 'commands.yml').is_file():
        blocks['commands'] = commands_table(folder)
    metafile, readme = folder / 'metafile.yml', folder / 'README.md'
    collections = yaml.safe_load(metafile.read_text())['Collections']
    (collection,) = (entry['Name'] for entry in collections)
    index = dict(Collections=collections, Models=[dict(model, **{'In Collection': collection}) for model in models])
    text = readme.read_text()
    for name, block in blocks.items():
        start, end = f'<!-- {name}: written by {TOOL} -->', f'<!-- end of {name} -->'
        if start not in text or end not in text:
            raise ValueError(f'{readme} has no place for {name}: {start} and {end}')
        text = text[: text.index(start)] + f'{start}\n\n{block}\n\n' + text[text.index(end) :]
    return {
        metafile: f'# Written by {TOOL}. FLOPs are multiply-adds.\n'
        + yaml.safe_dump(index, sort_keys=False, width=120),
        readme: text,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    families = sorted(path.parent.name for path in (ROOT / 'configs').glob('*/published.yml'))
    parser.add_argument('family', nargs='*', default=families, help='folders of configs/ (default: all)')
    for family in parser.parse_args().family:
        for path, text in update(ROOT / 'configs' / family).items():
            path.write_text(text)
            print(path)


if __name__ == '__main__':
    main()
