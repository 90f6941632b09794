# Reads the publication's zip files in place: data/imagenet/{train,val}.zip with {train,val}_map.txt, whose lines name
# an image in the archive and its class. The last line does the same for any classifier for ImageNet-1K.
_base_ = './vil-small_8xb128_in1k.py'

train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(type='vil_mm.ZipDataset'))
