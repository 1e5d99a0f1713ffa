"""The command line: `gapkit fit`, `gapkit evaluate`, `gapkit info`."""
