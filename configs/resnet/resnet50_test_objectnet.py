# Tests ResNet-50, dense or pruned, on the 113 classes that ObjectNet shares with ImageNet; change
# _base_ of the config below for another network. OBJECTNET_ROOT sets where the images are.
_base_ = 'resnet50_test_imagenetv2.py'

# The centre crop leaves out the red border of ObjectNet's images.
test_dataloader = dict(
    dataset=dict(
        mapping='objectnet', data_root='{{$OBJECTNET_ROOT:data/objectnet-1.0}}/images'))
