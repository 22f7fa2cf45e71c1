"""The pages: one file per page, and the layer around each of them."""
