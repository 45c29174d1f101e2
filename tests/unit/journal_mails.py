"""Journal reports and forwards as mail servers and mail programs write them; invented people."""

from __future__ import annotations

from email.message import EmailMessage

ORIGINAL = (
    b"Received: from mx.example.com by mail.example.com; Mon, 2 Mar 2026 10:00:01 +0300\r\n"
    b"From: =?utf-8?b?0JHQvtGA0LjRgQ==?= <boris@client.example>\r\n"
    b"To: Anna <anna@example.com>, sales@example.com\r\n"
    b"Subject: =?utf-8?b?0KHRh9GR0YI=?=\r\n"
    b"Message-ID: <order-7@client.example>\r\n"
    b"Date: Mon, 2 Mar 2026 10:00:00 +0300\r\n"
    b"MIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="inner"\r\n'
    b"\r\n"
    b"--inner\r\nContent-Type: text/plain; charset=koi8-r\r\n\r\n\xf0\xd2\xc9\xd7\xc5\xd4  \r\n"
    b'--inner\r\nContent-Type: text/plain; name="price.txt"\r\n'
    b"Content-Disposition: attachment\r\n"
    b"\r\n100 \x98\r\n--inner--\r\n"
)

REPORT_WORDS = (
    b"Sender: boris@client.example\r\n"
    b"Subject: =?utf-8?b?0KHRh9GR0YI=?=\r\n"
    b"Message-ID: <order-7@client.example>\r\n"
    b"To: anna@example.com\r\n"
    b"To: oleg@example.com, Expanded: sales@example.com\r\n"
    b"Cc: pavel@example.com, Forwarded: petr@example.com\r\n"
    b"Bcc: head@example.com\r\n"
    b"Recipient: audit@example.com\r\n"
)


def journal(
    words: bytes = REPORT_WORDS, original: bytes = ORIGINAL, *, marks: bytes = b"X-MS-Journal-Report:\r\n"
) -> bytes:
    """An envelope journal report of Exchange."""
    return (
        b"From: Microsoft Outlook <MicrosoftExchange329e71@example.com>\r\n"
        b"To: journal@archive.example.com\r\n"
        b"Subject: =?utf-8?b?0KHRh9GR0YI=?=\r\n"
        b"Date: Mon, 2 Mar 2026 07:00:02 +0000\r\n"
        b"Message-ID: <report-1@mail.example.com>\r\n" + marks + b"MIME-Version: 1.0\r\n"
        b'Content-Type: multipart/mixed;\r\n\tboundary="_000_report"\r\n\r\n'
        b"--_000_report\r\nContent-Type: text/plain; charset=\"us-ascii\"\r\n\r\n" + words + b"\r\n"
        b"--_000_report\r\nContent-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\n"
        + original
        + b"\r\n--_000_report--\r\n"
    )  # fmt: skip


def undelivered(report: bytes) -> bytes:
    """The delivery report about a journal report that could not be delivered (RFC 3464)."""
    return (
        b"From: postmaster@example.com\r\nTo: alternate@archive.example.com\r\nSubject: Undeliverable\r\n"
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="ndr"\r\n\r\n'
        b"--ndr\r\nContent-Type: text/plain\r\n\r\nIt could not be delivered.\r\n"
        b"--ndr\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mail.example.com\r\n\r\n"
        b"--ndr\r\nContent-Type: message/rfc822\r\n\r\n" + report + b"\r\n--ndr--\r\n"
    )


def forward(words: str, *, subject: str = "Fwd: Счёт", to: str = "drop@archive.example.com", **headers: str) -> bytes:
    """A manager's forward with the original in its words."""
    message = EmailMessage()
    message["From"] = "Anna <anna@example.com>"
    message["To"] = to
    message["Subject"] = subject
    message["Date"] = "Mon, 2 Mar 2026 12:00:00 +0300"
    message["Message-ID"] = "<forward-1@example.com>"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(words)
    return message.as_bytes().replace(b"\n", b"\r\n")


def forward_attached(*originals: bytes, to: str = "drop@archive.example.com") -> bytes:
    """A manager's forward with the originals attached as they are."""
    parts = b"".join(b"--fwd\r\nContent-Type: message/rfc822\r\n\r\n" + one + b"\r\n" for one in originals)
    return (
        b"From: Anna <anna@example.com>\r\nTo: " + to.encode() + b"\r\nSubject: FW: =?utf-8?b?0KHRh9GR0YI=?=\r\n"
        b"Date: Mon, 2 Mar 2026 12:00:00 +0300\r\nMessage-ID: <forward-2@example.com>\r\n"
        b'Content-Type: multipart/mixed; boundary="fwd"\r\n\r\n'
        b"--fwd\r\nContent-Type: text/plain\r\n\r\nPlease see.\r\n" + parts + b"--fwd--\r\n"
    )
