"""The integration cases by subject: each module fills a list CASES, which run.py walks in order."""
