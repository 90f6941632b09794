"""Bad data is found before anything is built."""

import json
import shutil

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from tests.conftest import ROOT, run_tool
from tests.scenes import DEMOS, on_scenes
from vil_mm.datasets.checks import check_data as module
from vil_mm.datasets.checks.check_data import check_data

LOADERS = ['train_dataloader', 'val_dataloader']


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp('scenes')
    run_tool('tools/dataset_converters/digit_scenes.py', '--root', root, '--num-train', 5, '--num-val', 2)
    return root


@pytest.fixture
def scenes(written, tmp_path):
    """A few scenes of digits, to be changed."""
    return shutil.copytree(written, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def messages(monkeypatch):
    """What is logged."""
    logged = []
    monkeypatch.setattr(module, 'print_log', lambda message, *args: logged.append(message))
    return logged


def check(demo, scenes):
    check_data(on_scenes(DEMOS[demo], scenes), LOADERS)


@pytest.mark.parametrize('demo', DEMOS)
def test_good_scenes_pass(demo, scenes, messages):
    check(demo, scenes)
    assert not messages


@pytest.mark.parametrize('demo', DEMOS)
def test_missing_and_damaged_images(demo, scenes):
    image = scenes / 'train/0003.png'
    data = image.read_bytes()
    for bad in (b'', data[: len(data) // 2], b'no image' * 9):
        image.write_bytes(bad)
        with pytest.raises(ValueError, match=rf'train_dataloader: 1 of 5 images are damaged; such as {image}'):
            check(demo, scenes)


def test_missing_image_of_coco(scenes):
    (scenes / 'val/0001.png').unlink()
    with pytest.raises(
        FileNotFoundError, match=rf'val_dataloader: 1 of 2 images are missing; such as {scenes}/val/0001'
    ):
        check('mask-rcnn', scenes)
    (scenes / 'annotations/val.json').write_text('{"images": []}')
    with pytest.raises(ValueError, match=rf'val_dataloader: {scenes}/annotations/val.json lists no images'):
        check('mask-rcnn', scenes)
    image = dict(id=1, file_name='0000.png', width=128, height=128)
    box = dict(id=1, image_id=1, category_id=1, area=4, bbox=[1, 1, 2, 2])
    for wrong in (
        dict(image=[]),
        dict(images=[dict(id=1, file_name='0000.png')]),
        dict(images=[image], annotations=[dict(box, bbox=['1', '1', '2', '2'])]),
        dict(images=[image], annotations=[dict(box, bbox=[1, 1, 2])]),
    ):
        (scenes / 'annotations/val.json').write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=rf"val_dataloader: {scenes}/annotations/val.json is not in COCO's format"):
            check('mask-rcnn', scenes)
    (scenes / 'annotations/val.json').unlink()
    with pytest.raises(
        FileNotFoundError, match=rf'val_dataloader: there is no annotation file {scenes}/annotations/val'
    ):
        check('mask-rcnn', scenes)


def test_boxes_and_images_that_are_left_out(scenes, messages):
    """Those that are named are those that mmdet skips in silence."""
    from mmengine.registry import DATASETS, init_default_scope

    path = scenes / 'annotations/train.json'
    content = json.loads(path.read_text())
    first, second, third = content['annotations'][:3]
    first['bbox'], second['bbox'] = [200, 10, 20, 20], [5, 5, 0, 9]
    third['bbox'] = [120, 10, 20, 20]
    content['images'].append(dict(id=77, file_name='0000.png', height=128, width=128))
    path.write_text(json.dumps(content))
    check('mask-rcnn', scenes)
    assert [message.split(';')[0] for message in messages] == [
        'train_dataloader: 2 boxes lie outside of their image, or are less than a pixel: they are left out',
        'train_dataloader: 1 boxes reach beyond their image: resizing cuts them, the evaluation does not',
        'train_dataloader: 1 images have no objects: training leaves them out',
    ]
    assert f'annotation {first["id"]} of ' in messages[0] and '[200, 10, 20, 20]' in messages[0]

    cfg = on_scenes(DEMOS['mask-rcnn'], scenes)
    init_default_scope('mmdet')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    kept = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert len(kept) == 5
    assert sum(len(info['instances']) for info in kept) == len(content['annotations']) - 2


def test_what_mmdet_leaves_out_besides(scenes, messages):
    from mmengine.registry import DATASETS, init_default_scope

    path = scenes / 'annotations/train.json'
    content = json.loads(path.read_text())
    first, second, third = content['annotations'][:3]
    first['category_id'] = 99
    second['area'] = 0
    del third['bbox']
    third['ignore'] = 1
    content['images'].append(dict(id=77, file_name='0000.png', height=20, width=128))
    path.write_text(json.dumps(content))
    cfg = on_scenes(DEMOS['mask-rcnn'], scenes)
    cfg.train_dataloader.dataset.filter_cfg = dict(min_size=32)
    check_data(cfg, LOADERS)
    beginnings = [
        'train_dataloader: 1 boxes are of no class of the dataset: they are left out',
        'train_dataloader: 1 boxes lie outside of their image, or are less than a pixel: they are left out',
        'train_dataloader: 1 images are smaller than 32 pixels: training leaves them out',
    ]
    assert [message.split(';')[0] for message in messages] == beginnings
    init_default_scope('mmdet')
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, serialize_data=False))
    kept = [instance for info in dataset.data_list for instance in info['instances'] if not instance['ignore_flag']]
    assert len(dataset) == 5 and len(kept) == len(content['annotations']) - 3


def test_classes_of_other_names(scenes, messages):
    cfg = on_scenes(DEMOS['mask-rcnn'], scenes)
    cfg.train_dataloader.dataset.metainfo = dict(classes=('cat', 'dog'))
    with pytest.raises(
        ValueError, match=r"train_dataloader: none of the categories of .*'?0'?; .* such as cat; dog: set"
    ):
        check_data(cfg, LOADERS)
    cfg.train_dataloader.dataset.metainfo = None  # COCO's own
    with pytest.raises(ValueError, match=r'is among the classes of the dataset, such as person; bicycle; car'):
        check_data(cfg, LOADERS)
    cfg.train_dataloader.dataset.metainfo = dict(classes=[*map(str, range(10)), 'ten'])
    check_data(cfg, LOADERS)
    assert messages == ['train_dataloader: 1 classes have no category of their name; such as ten']


def test_datasets_within_datasets(scenes):
    cfg = on_scenes(DEMOS['upernet'], scenes)
    dataset = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset',
        times=2,
        dataset=dict(type='ConcatDataset', datasets=[dataset, dict(dataset, data_root='x')]),
    )
    with pytest.raises(FileNotFoundError, match='train_dataloader: there is no folder x'):
        check_data(cfg, LOADERS)


@pytest.mark.parametrize(
    'elsewhere', [dict(data_root='s3://bucket'), dict(data_root='x', backend_args=dict(backend='petrel'))]
)
def test_what_is_elsewhere_passes(elsewhere, scenes):
    cfg = on_scenes(DEMOS['mask-rcnn'], scenes)
    cfg.train_dataloader.dataset.update(elsewhere)
    check_data(cfg, LOADERS)


@pytest.mark.parametrize('rank', module.RANKS)
def test_the_first_process_checks(rank, scenes, monkeypatch):
    (scenes / 'train/0003.png').unlink()
    monkeypatch.setenv(rank, '1')
    check('mask-rcnn', scenes)
    monkeypatch.setenv(rank, '0')
    with pytest.raises(FileNotFoundError):
        check('mask-rcnn', scenes)


def test_kinds_of_image_files(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    path = tmp_path / 'image.jpg'  # the name need not tell the kind, for readers either
    for suffix in ('.png', '.jpg', '.bmp', '.webp', '.tiff'):
        content = cv2.imencode(suffix, image)[1].tobytes()
        for whole in (content, content + bytes(100)):
            path.write_bytes(whole)
            assert module._state(path) == 'whole', (suffix, len(whole))
        for damaged in (b'', content[:10], content[: len(content) // 2]):
            path.write_bytes(damaged)
            assert module._state(path) == 'damaged', (suffix, len(damaged))


def test_annotations_of_no_image_and_lists_without_any_pass(scenes, messages):
    path = scenes / 'annotations/val.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['image_id'] = 99
    path.write_text(json.dumps(content))
    check('mask-rcnn', scenes)
    del content['annotations']
    path.write_text(json.dumps(content))
    check('mask-rcnn', scenes)
    assert not messages


def test_files_beside_label_maps(scenes, messages):
    """As in Cityscapes, where a part of the name tells label maps from pictures of them."""
    cfg = on_scenes(DEMOS['upernet'], scenes)
    for loader in LOADERS:
        cfg[loader].dataset.seg_map_suffix = '_labels.png'
    for path in (scenes / 'label_maps').rglob('*.png'):
        path.with_name(f'{path.stem}_labels.png').write_bytes(path.read_bytes())
    check_data(cfg, LOADERS)
    assert not messages


def test_label_maps(scenes, messages):
    label_map = scenes / 'label_maps/train/0002.png'
    data = label_map.read_bytes()
    label_map.write_bytes(data[:40])
    with pytest.raises(ValueError, match=rf'train_dataloader: 1 of 5 label maps are damaged; such as {label_map}'):
        check('upernet', scenes)
    label_map.unlink()
    with pytest.raises(FileNotFoundError, match=rf'1 of 5 label maps are missing; such as {label_map}'):
        check('upernet', scenes)
    label_map.write_bytes(data)
    (scenes / 'train/0002.png').unlink()  # mmseg lists images, and does not miss it
    check('upernet', scenes)
    assert messages == [f'train_dataloader: 1 label maps have no image; such as {label_map}']
    for path in (scenes / 'train').iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=rf'train_dataloader: there are no images in {scenes}/train'):
        check('upernet', scenes)
    (scenes / 'train').rmdir()
    with pytest.raises(FileNotFoundError, match=rf'train_dataloader: there is no folder {scenes}/train'):
        check('upernet', scenes)


def test_the_tools_check_first(scenes):
    (scenes / 'label_maps/val/0000.png').unlink()
    cfg = on_scenes(DEMOS['upernet'], scenes)
    cfg.dump(scenes / 'config.py')
    result = run_tool('tools/train.py', scenes / 'config.py', '--work-dir', scenes / 'work', check=False)
    assert result.returncode != 0 and 'val_dataloader: 1 of 2 label maps are missing' in result.stdout
    assert not (scenes / 'work').exists()


@pytest.mark.parametrize('config', ['vil-nano_1xb64_digits', 'vil-base-deep_8xb128_in21k'])
def test_folder_without_images(config, tmp_path):
    cfg = Config.fromfile(ROOT / f'configs/vil/{config}.py')
    cfg.train_dataloader.dataset.data_root = cfg.val_dataloader.dataset.data_root = str(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf'train_dataloader: there are no images in {tmp_path}/train'):
        check_data(cfg, ['train_dataloader', 'val_dataloader'])
    (tmp_path / 'train/n01').mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match='train_dataloader'):
        check_data(cfg, ['train_dataloader', 'val_dataloader'])
    (tmp_path / 'train/n01/x.png').touch()
    with pytest.raises(FileNotFoundError, match=rf'val_dataloader: there are no images in {tmp_path}/val'):
        check_data(cfg, ['train_dataloader', 'val_dataloader'])
    check_data(cfg, ['train_dataloader'])


def test_lists_of_images_need_no_class_folders(tmp_path):
    cfg = Config.fromfile(ROOT / 'configs/vil/vil-small_8xb128_in1k.py')
    dataset = cfg.val_dataloader.dataset
    dataset.data_root = str(tmp_path)
    (tmp_path / 'meta').mkdir()
    (tmp_path / 'meta/val.txt').write_text('x.JPEG 0')
    check_data(cfg, ['val_dataloader'])
    dataset.update(split='', data_prefix='elsewhere', ann_file='list.txt')
    check_data(cfg, ['val_dataloader'])
    dataset.update(ann_file='')
    with pytest.raises(FileNotFoundError, match=rf'there are no images in {tmp_path}/elsewhere'):
        check_data(cfg, ['val_dataloader'])
