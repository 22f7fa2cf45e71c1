"""The command groups of `mintwire`, one module each."""
