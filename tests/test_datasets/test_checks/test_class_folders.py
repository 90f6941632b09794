"""Images of classes, in folders, lists and zip files."""

import re
import shutil
import zipfile
import zlib

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from tests.conftest import ROOT
from tests.test_datasets.test_checks.conftest import LOADERS
from vil_mm.datasets.checks import check_data, class_folders, image_lists
from vil_mm.datasets.checks.configured import find_datasets

CLASSES = ['cat', 'dog', 'owl']


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(zlib.crc32(str(path).encode())).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path):
    """Folders of classes."""
    for split in ('train', 'val'):
        for name in CLASSES:
            for number in range(2):
                write(tmp_path / split / name / f'{number}.png')
    return tmp_path


def make_config(root, train=None, val=None, **both):
    """A config of both loaders, with settings for one or both."""
    cfg = dict(default_scope='mmpretrain')
    for loader, split, own in zip(LOADERS, ('train', 'val'), (train, val)):
        dataset = dict(type='CustomDataset', data_root=str(root), data_prefix=split)
        cfg[loader] = dict(dataset={**dataset, **both, **(own or {})})
    return Config(cfg)


def check_fails(cfg, match, error=ValueError, loaders=LOADERS):
    with pytest.raises(error, match=match):
        check_data(cfg, loaders)


def test_good_folders_pass(root, messages):
    check_data(make_config(root), LOADERS)
    check_data(make_config(root, classes=CLASSES), LOADERS)
    check_data(make_config(root, metainfo=dict(classes=['Cat', 'Dog', 'Great horned owl'])), LOADERS)
    check_data(make_config(root, with_label=False), LOADERS)
    assert not messages


def test_links(root, messages):
    for split in ('train', 'val'):
        (root / split / 'dog').rename(root / f'{split}-dogs')
        (root / split / 'dog').symlink_to(root / f'{split}-dogs')
    check_data(make_config(root), LOADERS)
    assert not messages
    (root / 'train-dogs/1.png').unlink()
    (root / 'train-dogs/1.png').symlink_to(root / 'nowhere.png')
    check_fails(make_config(root), r'1 of 6 images are missing; .*train/dog/1.png', FileNotFoundError)


@pytest.mark.parametrize('config', ['vil-nano_1xb64_digits', 'vil-small_8xb128_in1k'])
def test_folder_without_images(config, tmp_path):
    cfg = Config.fromfile(ROOT / f'configs/vil/{config}.py')
    cfg.model = cfg.data_preprocessor = None  # of more classes
    for loader in LOADERS:
        cfg[loader].dataset.data_root = str(tmp_path)
        cfg[loader].dataset.metainfo = dict(classes=['n01'])
    check_fails(cfg, rf'train_dataloader: there are no images in {tmp_path}/train', FileNotFoundError)
    (tmp_path / 'train/n01').mkdir(parents=True)
    check_fails(cfg, 'train_dataloader', FileNotFoundError)
    write(tmp_path / 'train/n01/x.png')
    check_fails(cfg, rf'val_dataloader: there are no images in {tmp_path}/val', FileNotFoundError)
    check_data(cfg, ['train_dataloader'])


def test_missing_and_extra_class_folders(root):
    shutil.rmtree(root / 'val/dog')
    check_fails(
        make_config(root),
        rf'val_dataloader: the class folders of {root}/val differ from those of {root}/train, of train_dataloader: '
        r'1 are missing, such as dog; '
        r'.*add an empty folder for each class without images',
    )
    check_fails(
        make_config(root, classes=CLASSES),
        r'val has 2 class folders, but classes names 3: 1 are missing, such as dog: ',
    )
    (root / 'val/dog').mkdir()
    check_data(make_config(root), LOADERS)
    write(root / 'val/Owl/0.png')
    check_fails(make_config(root), r'1 are not among them, such as Owl')
    cfg = make_config(root)
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[cfg.train_dataloader.dataset, cfg.val_dataloader.dataset]
    )
    check_fails(
        cfg,
        rf'train_dataloader: the class folders of {root}/val differ from those of {root}/train, ',
        loaders=LOADERS[:1],
    )


@pytest.mark.parametrize('name', ['.ipynb_checkpoints', '__MACOSX', '.git', '@eaDir'])
def test_folders_that_are_no_classes(name, root):
    (root / 'train' / name).mkdir()
    check_fails(make_config(root), rf'train_dataloader: 1 folders are no classes, .*{root}/train/{name}: remove them')
    cfg = make_config(root)
    with pytest.raises(ValueError, match=name):
        class_folders.class_names(find_datasets(cfg, LOADERS)[0])


def test_classes_that_are_not_the_folders(root):
    check_fails(make_config(root, classes=['dog', 'cat', 'owl']), r'train_dataloader: 2 classes .* cat \(0, not 1\)')
    check_fails(make_config(root, type='ImageNet'), r"has 3 class folders, but classes names 1000: .*'CustomDataset'")
    check_fails(make_config(root, metainfo=dict(classes='cat')), r"classes='cat' must be a list of names")
    check_fails(
        make_config(root, val=dict(classes=['a', 'b', 'c']), train=dict(classes=['a', 'c', 'b'])),
        r"val_dataloader: the classes differ from those of train_dataloader: the order differs: number 1 is 'b'",
    )
    for number in range(3, 11):  # sorted as text, 10 comes before 2
        for split in ('train', 'val'):
            write(root / split / str(number) / '0.png')
    for split in ('train', 'val'):
        for number, name in enumerate(CLASSES):
            (root / split / name).rename(root / split / str(number))
    check_fails(make_config(root, classes=[str(i) for i in range(11)]), r'9 classes have another place.*10 \(2, not 10')


def test_folders_within_the_only_folder(root):
    cfg = make_config(root)
    cfg.train_dataloader.dataset.data_prefix = ''
    (root / 'val').rename(root.parent / f'{root.name}-val')
    check_fails(cfg, rf'the only class in {root} is train.* cat; dog; owl: .* set data_prefix to {root}/train')


def test_images_that_are_left_out(root, messages):
    for name in ('x.PNG', 'x.webp', 'x.txt', '.x.webp', '._x.png'):
        (root / 'train/cat' / name).write_bytes((root / 'train/cat/0.png').read_bytes())
    write(root / 'train/y.png')
    write(root / 'train/dog/.ipynb_checkpoints/0-checkpoint.png')
    write(root / 'train/dog/camera/0.png')
    check_data(make_config(root), LOADERS)
    assert [message.split(',')[0].split(';')[0] for message in messages] == [
        'train_dataloader: 1 images are left out',
        'train_dataloader: 1 images are in hidden folders within those of the classes',
        'train_dataloader: 1 images are in no class folder: they are left out',
    ]
    assert f'{root}/train/cat/x.webp' in messages[0]
    from mmengine.registry import DATASETS

    dataset = DATASETS.build(dict(make_config(root).train_dataloader.dataset, _scope_='mmpretrain'))
    assert len(dataset) == 6 + 1 + 2 and list(dataset.CLASSES) == CLASSES


@pytest.mark.parametrize('content', [b'', b'<html>no image</html>', b'\xff\xd8\xff\xe0 cut off'])
def test_broken_files_are_named(content, root):
    path = root / 'train/cat/1.jpg'
    path.write_bytes(content)
    check_fails(make_config(root), rf'train_dataloader: 1 of 7 images are damaged; such as {path}: they are empty, cut')


def test_large_sets_are_sampled(root, monkeypatch, messages):
    monkeypatch.setattr(class_folders, 'SAMPLE', 4)
    check_data(make_config(root), LOADERS)
    assert messages[0] == 'train_dataloader: checked 4 of the 6 image files'
    (root / 'train/cat/0.png').write_bytes(b'')  # the first of the sample
    check_fails(make_config(root), r'1 of 4 images, a sample of 6, are damaged')


def write_list(root, split, lines):
    (root / f'{split}.txt').write_text('\n'.join(lines) + '\n')
    return dict(ann_file=f'{split}.txt')


def test_good_lists_pass(root, messages):
    lines = [f'{name}/{number}.png {label}' for label, name in enumerate(CLASSES) for number in range(2)]
    lists = dict(train=write_list(root, 'train', lines), val=write_list(root, 'val', lines[1:]))
    (root / 'train/.git').mkdir()  # makes no class here
    check_data(make_config(root, **lists), LOADERS)
    check_data(make_config(root, **lists, classes=['a', 'b', 'c']), LOADERS)
    names = dict(train=write_list(root, 'train', [line.split()[0] for line in lines]))
    check_data(make_config(root, **names, with_label=False), LOADERS)
    assert not messages


@pytest.mark.parametrize(
    'line, problem',
    [
        ('', "'' must be the name of an image, a space and"),
        ('cat/1.png\t0', 'must be the name of an image, a space and'),
        ('cat/1.png,0', 'must be the name of an image, a space and'),
        ('cat/1.png cat', 'must be the name of an image, a space and'),
        ('cat/1.png 0.0', 'must be the name of an image, a space and'),
        ('cat/1.png 3', 'has class 3, must be 0 to 2, for 3 classes'),
        ('cat/1.png -1', 'has class -1, must be 0'),
    ],
)
def test_wrong_lines(line, problem, root):
    lists = dict(train=write_list(root, 'train', ['cat/0.png 0', line]))
    check_fails(
        make_config(root, **lists, classes=CLASSES), rf'train_dataloader: {root}/train.txt, line 2: .*{problem}'
    )


def test_lists_that_name_missing_files(root):
    lists = dict(train=write_list(root, 'train', ['cat/0.png 0', 'cat/9.png 0']))
    check_fails(
        make_config(root, **lists),
        rf'1 of 2 images are missing; such as {root}/train/cat/9.png, which {root}/train.txt lists',
        FileNotFoundError,
    )
    check_fails(make_config(root, ann_file='none.txt'), rf'no list of images {root}/none.txt', FileNotFoundError)


def test_lists_of_other_labels(root, messages):
    train = [f'{name}/0.png {label}' for label, name in enumerate(CLASSES)]
    val = [f'{name}/0.png {label}' for label, name in enumerate(['owl', 'cat', 'dog'])]
    lists = dict(train=write_list(root, 'train', train), val=write_list(root, 'val', val))
    moved = r'val_dataloader: 3 class folders of .* have another label than those of .*; such as owl \(0, not 2\)'
    check_fails(make_config(root, **lists), moved)
    check_fails(make_config(root, val=lists['val']), moved)
    check_fails(make_config(root, **lists, classes=CLASSES), r'val_dataloader: 3 classes have another place in classes')
    mixed = dict(lists, val=write_list(root, 'val', ['owl/0.png 0', 'owl/1.png 1']))  # folders of another meaning
    check_data(make_config(root, **mixed), LOADERS)
    assert not messages
    write_list(root, 'train', train[:2])
    check_data(make_config(root, **mixed, classes=CLASSES), LOADERS)
    assert messages == [f'train_dataloader: 1 classes have no image in {root}/train.txt; such as owl']
    messages.clear()
    cfg = make_config(root, **mixed, classes=CLASSES)
    other = dict(cfg.train_dataloader.dataset, ann_file=write_list(root, 'other', ['owl/0.png 2'])['ann_file'])
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[cfg.train_dataloader.dataset, other])
    check_data(cfg, LOADERS)
    assert not messages


def test_lists_that_contradict_themselves(root, messages):
    lines = [f'{name}/{number}.png {label}' for label, name in enumerate(CLASSES) for number in range(2)]
    check_data(make_config(root, train=write_list(root, 'train', [*lines, lines[1], lines[1]])), LOADERS)
    again = f'train_dataloader: 1 images are listed in {root}/train.txt again, and count more than once; '
    assert messages == [again + 'such as cat/1.png']
    twice = rf'train_dataloader: 1 images have two labels in {root}/train.txt; such as cat/1.png \(0 and 2\): keep'
    check_fails(make_config(root, train=write_list(root, 'train', [*lines, 'cat/1.png 2'])), twice)


def test_images_of_another_label_than_their_folder(messages):
    samples = [(f'{name}/{i}.png', label) for label, name in enumerate(CLASSES) for i in range(3)]
    odd = [('cat/3.png', 1)]
    mixed = [(name.split('/')[1], label) for name, label in samples]  # folders of another meaning
    even = [(f'{name}/{i}.png', label) for label, name in enumerate(CLASSES[:2]) for i in range(9)]
    even += [(f'owl/{i}.png', i) for i in (2, 1, 0)]  # of no class more than of others
    tops = [(f'{name}/{i}.png', i % 5 // 4) for name in CLASSES for i in range(5)]
    days = [('a/0.png', 0), ('a/1.png', 0), ('b/0.png', 0), *odd]
    for right in (samples, mixed, days, even, tops):
        image_lists.warn_of_odd(right, 'list.txt', 'train_dataloader')
    assert not messages
    image_lists.warn_of_odd(samples + odd, 'list.txt', 'train_dataloader')
    assert '1 images have another label in list.txt than the other' in messages[0] and 'cat/3.png (1, ' in messages[0]


def test_images_of_different_sizes(root):
    Image.new('RGB', (4, 6)).save(root / 'val/dog/1.png')
    steps = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    cfg = make_config(root, pipeline=steps)
    check_data(cfg, LOADERS)  # padded
    cfg.val_dataloader.update(batch_size=2, collate_fn=dict(type='default_collate'))
    sizes = rf'val_dataloader: {root}/val/cat/0.png is 4x4, {root}/val/dog/1.png 4x6, and no step .*: add a Resize'
    check_fails(cfg, sizes)
    for change in (dict(batch_size=1), dict(dataset=dict(pipeline=[*steps, dict(type='ResizeEdge', scale=4)]))):
        right = cfg.copy()
        right.merge_from_dict(dict(val_dataloader=change))
        check_data(right, LOADERS)


def test_images_of_both_loaders(root, messages):
    cfg = make_config(root, data_prefix='train')
    check_data(cfg, LOADERS)
    assert 'val_dataloader: 6 images are those of another data loader too' in messages.pop()
    for loader, test_mode in zip(LOADERS, (False, True)):
        cfg[loader].dataset = dict(type='KFoldDataset', dataset=cfg[loader].dataset, test_mode=test_mode)
    check_data(cfg, LOADERS)
    check_data(make_config(root, data_prefix='train', indices=3), LOADERS)
    assert not messages


def test_zip_files(root):
    for split, names in (('train', CLASSES), ('val', CLASSES[::-1])):
        with zipfile.ZipFile(root / f'{split}.zip', 'w') as archive:
            for name in names:
                archive.write(root / split / name / '0.png', f'{name}/0.png')
        lines = [f'{name}/0.png\t{label}' for label, name in enumerate(names)]
        (root / f'{split}_map.txt').write_text('\n'.join(lines))
    cfg = make_config(root)
    for loader, split in zip(LOADERS, ('train', 'val')):
        cfg[loader].dataset = dict(type='vil_mm.ZipDataset', data_root=str(root), split=split, num_classes=3)
    check_data(cfg, LOADERS[:1])
    check_fails(cfg, r'val_dataloader: 2 class folders of .*val.zip have another label .*owl \(0, not 2\)')


def test_names_of_classes(root):
    def names(**settings):
        return class_folders.class_names(find_datasets(make_config(root, **settings), LOADERS)[0])

    assert names() == CLASSES
    assert names(classes=('a', 'b', 'c')) == ['a', 'b', 'c']
    assert names(ann_file='train.txt') is names(with_label=False) is None
    assert len(names(type='ImageNet')) == 1000


def test_images_in_two_classes(root, messages):
    shutil.copy(root / 'train/cat/0.png', root / 'train/owl/7.png')
    shutil.copy(root / 'train/cat/0.png', root / 'train/cat/7.png')  # as if to count twice
    check_data(make_config(root), LOADERS)
    copy = f'such as {root}/train/owl/7.png is {root}/train/cat/'  # 0.png or 7.png: folders are not sorted
    assert len(messages) == 1 and copy in messages[0]
    assert 'train_dataloader: 1 images are in another class too, with the same content; ' in messages[0]


def test_equal_fingerprints_of_other_content(root, messages, monkeypatch):
    monkeypatch.setattr('builtins.hash', lambda value: 1)
    check_data(make_config(root), LOADERS)
    assert not messages


def test_copies_of_images_of_another_loader(root, messages):
    shutil.copy(root / 'train/cat/0.png', root / 'val/cat/7.png')
    check_data(make_config(root), LOADERS)
    assert messages == [
        'val_dataloader: 1 images are copies of those of another data loader, and say nothing about unseen ones; '
        f'such as {root}/val/cat/7.png is {root}/train/cat/0.png'
    ]


def test_classes_without_images(root, messages):
    (root / 'val/emu').mkdir()
    (root / 'train/emu').mkdir()
    check_data(make_config(root), LOADERS)
    assert messages == [f'train_dataloader: 1 classes have no image in {root}/train; such as emu']


def test_names_that_are_almost_the_same(root, messages):
    for split in ('train', 'val'):
        for name in ('Black Cat', 'black_cat', 'a', 'A', '1_11', '11_1'):
            write(root / split / name / '0.png')
    check_data(make_config(root), LOADERS)
    almost = (
        "1 names of class folders in {}/{} are almost the same: each is a class of its own; such as 'Black Cat' and "
    )
    assert messages == [
        f'{split}_dataloader: ' + almost.format(root, split) + "'black_cat'" for split in ('train', 'val')
    ]


def test_parts_of_the_data_as_classes(root):
    fails = r'train_dataloader: the classes in {} are train, val, which are parts of the data: set data_prefix'
    check_fails(make_config(root, data_prefix=''), fails.format(root))


def test_labels_beyond_the_head(root):
    train = write_list(root, 'train', ['cat/0.png 0', 'dog/0.png 1', 'owl/0.png 2'])
    cfg = make_config(root, train=train)
    cfg.model = dict(head=dict(type='LinearClsHead', num_classes=3, in_channels=1))
    cfg.val_dataloader.dataset.ann_file = 'val.txt'
    write_list(root, 'val', ['cat/0.png 3', 'cat/1.png 4'])  # as for retrieval
    check_data(cfg, LOADERS)
    cfg.model.head.num_classes = 2
    check_fails(cfg, r"line 3: 'owl/0.png 2' has class 2, must be 0 to 1, for 2 classes", loaders=LOADERS[:1])


@pytest.mark.parametrize(
    'lines, message',
    [
        (['cat/0.png 0', 'dog/0.png 1', 'dog/0.png 0'], r'1 images have two labels in .*; such as dog/0.png \(1 and 0'),
        (['cat/0.png 0', 'cat/0.png 0', 'dog/0.png 1'], '1 images are listed in .* again, and count more than once; '),
        (['cat/0.png 0', 'dog/0.png 1', 'owl/0.png 1'], '1 images are in another class too, .*train.zip/owl/0.png is '),
        (['cat/0.png 0', 'dog/0.png 0'], '1 classes have no image in .*train_map.txt; such as b'),
        (['cat/0.png 0', '__MACOSX/._0.png 1'], '1 names in .*_map.txt are of no images, but of files that a system'),
        (
            ['cat/0.png 0', 'fox/0.png 1'],
            r'1 files in .*train\.zip are damaged or no images; such as fox/0\.png: write',
        ),
        (['cat/0.png 0', 'emu/0.png 1'], r'1 images in .*train\.zip are empty; such as emu/0.png: write them anew'),
    ],
)
def test_zip_files_that_contradict_themselves(lines, message, root, messages):
    with zipfile.ZipFile(root / 'train.zip', 'w') as archive:
        for name, source in (('cat', 'cat'), ('dog', 'dog'), ('owl', 'cat')):
            archive.write(root / 'train' / source / '0.png', f'{name}/0.png')
        archive.writestr('emu/0.png', b'')
        archive.writestr('fox/0.png', b'<html>404 not found</html>')
        archive.writestr('__MACOSX/._0.png', b'metadata')
    (root / 'train_map.txt').write_text('\n'.join(lines))
    cfg = make_config(root)
    cfg.train_dataloader.dataset = dict(
        type='vil_mm.ZipDataset', data_root=str(root), metainfo=dict(classes=['a', 'b'])
    )
    try:
        check_data(cfg, LOADERS[:1])
    except ValueError as error:
        messages.append(str(error))
    assert len(messages) == 1 and re.search(message, messages[0])
