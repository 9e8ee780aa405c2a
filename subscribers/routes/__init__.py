"""The routes of the site, one file for each thing that readers do."""
