"""From a torch network to a backbone's folder, compared with its original before anything is written."""

from featx.exporting.exporting import export_backbone

__all__ = ["export_backbone"]
