"""What comes back from readers and their servers."""
