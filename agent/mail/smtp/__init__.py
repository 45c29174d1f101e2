"""The SMTP door: journals, Bcc copies and forwards come in here and get their 250 only after the commit."""

from agent.mail.smtp.server import SmtpServer

__all__ = ["SmtpServer"]
