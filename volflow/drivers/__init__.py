"""Storage backends: the contract, and the drivers that come with volflow."""

from volflow.drivers.base import Driver, Export, ModelUpdate, VolumeDriver, initiator_of

__all__ = ["Driver", "Export", "ModelUpdate", "VolumeDriver", "initiator_of"]
