"""Write the metafile of a model family, and the table in its README, from its configs.

Parameters and multiply-adds are counted on the built models; published figures come from ``published.yml``
beside the configs.
"""

import argparse
import re
from pathlib import Path

import torch
import yaml
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch._subclasses.fake_tensor import FakeTensorMode

from vil_mm.apis import count_macs, image_size

ROOT = Path(__file__).parents[2]
START, END = '<!-- models: written by tools/analysis_tools/update_model_index.py -->', '<!-- end of models -->'
DATASETS = {'in1k': 'ImageNet-1k', 'in21k': 'ImageNet-21k', 'cifar10': 'CIFAR-10', 'cifar100': 'CIFAR-100'}
DATASETS.update(mnist='MNIST', digits='Digits of scikit-learn')
#: What published.yml may say of a model, and what the metafile calls it.
PUBLISHED = dict(top1='Top 1 Accuracy', top5='Top 5 Accuracy', parameters='Parameters (M)', gmacs='FLOPs (G)')


def describe(path: Path, published: dict) -> dict:
    """Describe the model of a config, as an entry of the model index."""
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    height, width = image_size(cfg)
    # shapes are enough: nothing is initialized or computed
    with FakeTensorMode():
        model = MODELS.build(cfg.model).eval()
        macs = count_macs(model, [torch.rand(1, 3, height, width)], mode='tensor')['']
    metadata = {
        'Parameters': sum(p.numel() for p in model.parameters()),
        'FLOPs': macs,
        'Image Size': height,
        'Training Data': training_data(cfg, path.stem),
        'Weights': 'none offered',
    }
    if published:
        metadata['Published'] = {label: published[key] for key, label in PUBLISHED.items() if key in published}
    return {
        'Name': path.stem,
        'Config': str(path.relative_to(ROOT)),
        'Metadata': metadata,
        'Results': [
            {'Task': 'Image Classification', 'Dataset': metadata['Training Data'].split(', then ')[-1], 'Metrics': None}
        ],
    }


def training_data(cfg: Config, name: str) -> str:
    """Name the datasets of a config, what it starts from first."""
    names = [DATASETS[re.search(r'_(in1k|in21k|cifar100?|mnist|digits)', name)[1]]]
    start = re.search(r'_(in1k|in21k)\.pth$', cfg.get('load_from') or '')
    return ', then '.join(dict.fromkeys([DATASETS[start[1]], *names] if start else names))


def table(models: list[dict]) -> str:
    """Write the models as a table in Markdown."""
    rows = [['config', 'pixels', 'parameters', 'GMACs', 'published: top-1', 'top-5', 'M params', 'GMACs']]
    for model in models:
        metadata, name = model['Metadata'], model['Name']
        published = metadata.get('Published', {})
        figures = [str(published.get(label, '')) for label in PUBLISHED.values()]
        macs = f'{metadata["FLOPs"] / 1e9:.3f}'
        link = f'[{name}]({Path(model["Config"]).name})'
        rows.append([link, str(metadata['Image Size']), f'{metadata["Parameters"]:,}', macs, *figures])
    widths = [max(map(len, column)) for column in zip(*rows)]
    rows.insert(1, ['-' * widths[0], *('-' * (width - 1) + ':' for width in widths[1:])])
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def update(folder: Path) -> dict[Path, str]:
    """Make the new contents of a family's metafile and README.

    Args:
        folder (Path): The family's configs, with ``published.yml``, and the
            two files as they are.

    Returns:
        dict[Path, str]: The texts, by file.

    Raises:
        ValueError: If ``published.yml`` names a config that is not there.
    """
    published = yaml.safe_load((folder / 'published.yml').read_text())
    paths = sorted(folder.glob('*.py'))
    unknown = published.keys() - {path.stem for path in paths}
    if unknown:
        raise ValueError(f'{folder}/published.yml names configs that are not there: {sorted(unknown)}')
    models = [describe(path, published.get(path.stem)) for path in paths]
    metafile, readme = folder / 'metafile.yml', folder / 'README.md'
    collections = yaml.safe_load(metafile.read_text())['Collections']
    (name,) = (collection['Name'] for collection in collections)
    index = dict(Collections=collections, Models=[dict(model, **{'In Collection': name}) for model in models])
    before, rest = readme.read_text().split(START)
    return {
        metafile: '# Written by tools/analysis_tools/update_model_index.py. FLOPs are multiply-adds.\n'
        + yaml.safe_dump(index, sort_keys=False, width=120),
        readme: f'{before}{START}\n\n{table(models)}\n\n{END}{rest.split(END)[1]}',
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
