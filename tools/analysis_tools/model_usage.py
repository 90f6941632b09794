"""How to use and to cite the models of a family: parts of its page, from ``published.yml`` beside its configs."""

from pathlib import Path

from mmengine.fileio import load

from vil_mm.engine.published import checkpoint_name, read_rows

#: For the configs in each folder of a family: a word for a model, the inferencer, its library, and its argument for a
#: file of weights.
INFERENCERS = {
    '': ('classifier', 'ImageClassificationInferencer', 'mmpretrain', 'pretrained'),
    'detection': ('detector', 'DetInferencer', 'mmdet.apis', 'weights'),
    'segmentation': ('segmenter', 'MMSegInferencer', 'mmseg.apis', 'weights'),
}


def usage(folder: Path) -> str:
    """Write how to predict, train, test and convert, with the examples that ``published.yml`` names.

    Args:
        folder (Path): The family's configs.
    """
    paths = {path.stem: path for path in folder.rglob('*.py')}
    examples = [paths[name] for name in load(folder / 'published.yml')['examples']]
    files = {path.stem: f'checkpoints/{checkpoint_name(path.stem)}' for path in examples}
    imports, predict, train, test = [], [], [], []
    for path in examples:
        config = path.relative_to(folder.parents[1])
        word, inferencer, library, weights = INFERENCERS[path.parent.name if path.parent != folder else '']
        imports.append(f'from {library} import {inferencer}')
        predict += [f'{word} = {inferencer}(', f"    '{path.stem}',", f"    {weights}='{files[path.stem]}',", ')']
        predict.append(f"{word}('image.jpg')")
        train.append(f'python tools/train.py {config}')
        test.append(f'python tools/test.py {config} {files[path.stem]}')
    train.append(f'bash tools/dist_train.sh {examples[0].relative_to(folder.parents[1])} 8  # on 8 GPUs')
    converted = {row['config']: row for row in read_rows(folder) if 'file' in row}
    convert = []
    for name, row in ((name, converted[name]) for name in files if name in converted):
        source = row['file'].split('/')[-1]
        source = source if source.endswith('.pth') else 'FILE'  # a link that does not name the file
        command = f'python tools/model_converters/{row["converter"]} {source} {files[name]} {row["options"]}'
        convert.append(command.rstrip())
    parts = [
        ('Predict', 'python', ['import vil_mm.apis  # makes the models known by name', *sorted(imports), '', *predict]),
        ('Train', 'bash', train),
        ('Test', 'bash', test),
    ]
    if convert:
        parts.append(('Convert', 'bash', convert))
    return '\n\n'.join(
        '\n'.join([f'### {title}', '', '<!-- not run: needs data and weights -->', '', f'```{language}', *lines, '```'])
        for title, language, lines in parts
    )


def citation(folder: Path) -> str:
    """Write the publications of a family as BibTeX."""
    entries = []
    for paper in load(folder / 'published.yml')['papers']:
        journal = paper.get('journal', f'arXiv preprint arXiv:{paper["arxiv"]}')
        fields = dict(title=paper['title'], author=paper['author'], journal=journal, year=paper['year'])
        lines = ',\n'.join(f'  {name} = {{{value}}}' for name, value in fields.items())
        entries.append(f'@article{{{paper["key"]},\n{lines}\n}}')
    return '\n'.join(['```bibtex', *entries, '```'])
