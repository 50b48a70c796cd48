"""The modalities: one folder for each kind of example; importing this package registers them."""

from tf_transfer.modalities import image  # noqa: F401
