"""The estimators that come with vdbench: one short file each, found by the registry."""
