"""From rows to messages: what a delivery or a notice needs is read, then set, joined and signed."""
