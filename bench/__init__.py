"""Load scripts: every figure is a ratio to a bare program with the same libraries in the same run."""
