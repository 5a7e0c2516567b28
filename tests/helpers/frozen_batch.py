"""A network whose number of images is a plain int when traced, as ``window_reverse`` of Swin."""

from torch import nn


class FrozenBatch(nn.Module):
    """Flattens each channel, by way of the plain int.

    Args:
        channels: 3, or -1 to have them worked out: of another number of images the values then
            land in the wrong place, where 3 do not fit.
    """

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, images):
        number, channels, height, width = images.shape
        rows = images.flatten(2).transpose(1, 2).reshape(-1, channels)
        rows = rows.view(int(rows.shape[0] / (height * width)), int(height * width), self.channels)
        return (rows.transpose(1, 2).reshape(number, channels, -1),)
