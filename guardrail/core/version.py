"""The version of this package, for the records that contain it."""

__version__ = "0.1.0"
