"""The operator's tools for the broker, which need the operator's rights: dead letters, queue depths, watching."""
