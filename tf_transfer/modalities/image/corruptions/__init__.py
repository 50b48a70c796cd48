"""The fifteen common corruptions of pictures at five severities, as functions of arrays.

    from tf_transfer.modalities.image.corruptions import corrupt
    corrupt(images, "fog", 3)

They are those of Hendrycks and Dietterich (ICLR 2019), made here, a batch at a time, by the published parameters: of
CIFAR-10-C up to 64 pixels, of ImageNet-C above. Frost is drawn, as its photographs may not be passed on; glass blur
swaps pixels, where the published code copies one of the two.
"""

from tf_transfer.modalities.image.corruptions.corrupt import CORRUPTION, SEVERITIES, SMALLEST, corrupt

__all__ = ["CORRUPTION", "SEVERITIES", "SMALLEST", "corrupt"]
