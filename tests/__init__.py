"""Tests; they mirror the tree, plus architecture, contracts, docs, migrations and system."""
