"""What there is to read: places, themes, items."""
