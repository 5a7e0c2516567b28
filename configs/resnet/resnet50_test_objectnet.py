# ResNet-50, dense or pruned, tested on the 113 objects of ObjectNet that are classes of ImageNet.
# The other networks by exchanging _base_. OBJECTNET_ROOT moves the data.
_base_ = 'resnet50_test_imagenetv2.py'

# The red border of ObjectNet's images falls outside the centre crop.
test_dataloader = dict(
    dataset=dict(
        mapping='objectnet', data_root='{{$OBJECTNET_ROOT:data/objectnet-1.0}}/images'))
