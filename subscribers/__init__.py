"""The readers' site: the pages that links in mails lead to."""
