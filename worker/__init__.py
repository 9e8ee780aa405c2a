"""The Celery side: each task is a thin shell around one function of the house."""
