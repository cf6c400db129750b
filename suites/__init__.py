"""The suites that come with vdbench: one declarative YAML file each."""
