# Alias of the default recipe: AdaSAP on SSD512 with ResNet-50, Pascal VOC 07+12, 40 % of the
# parameters.
_base_ = 'ssd/ssd512_r50_adasap-params40_8xb16-800e_voc0712.py'
