"""What an example is: a folder a modality, each registered when this package is imported."""

from tf_transfer.modalities import image  # noqa: F401
