"""Programs that others copy from; nothing of Mintwire imports them."""
