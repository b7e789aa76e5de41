"""The version, read by the build and by whatever writes provenance."""

__version__ = "0.1.0"
