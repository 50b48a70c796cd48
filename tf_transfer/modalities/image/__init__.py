"""Pictures: registers the modality, its networks, and the data sets of pictures in the package."""

from tf_transfer.data.sources import SOURCES
from tf_transfer.modalities import backbones, base
from tf_transfer.modalities.image.digits import open_digits
from tf_transfer.modalities.image.modality import Images
from tf_transfer.modalities.image.networks import NETWORKS
from tf_transfer.modalities.image.rendered_digits import open_rendered_digits

base.MODALITIES.register("image")(Images())
for _name, _backbone in NETWORKS.items():
    backbones.register(_name, _backbone)
SOURCES.register("digits")(open_digits)
SOURCES.register("rendered_digits")(open_rendered_digits)
