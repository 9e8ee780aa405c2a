"""Who reads: lists, subscribers, their picks, their consent, the links they are sent."""
