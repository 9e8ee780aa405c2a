"""The built-in capture inbox: an SMTP server that keeps every message, and pages to read them on."""
