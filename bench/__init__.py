"""Load scripts: every figure is a ratio to a bare program of the same libraries in the same run."""
