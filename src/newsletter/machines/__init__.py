"""Programs that speak to us: who they are (tokens), and what they were answered (kept answers)."""
