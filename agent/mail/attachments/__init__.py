"""The words of attached files, for search: read by a job and a child process of its own, after the mails."""
