"""What would keep mails from being received well, and what to set so that it does not."""
