"""How it looks: from a letter to the bytes that a relay gets. Pure: no database, no clock."""
