"""The wire: conversations with relays, and the connections that carry them. Knows no database."""
