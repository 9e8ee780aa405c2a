"""How digests leave: claim, send, settle, sweep."""
