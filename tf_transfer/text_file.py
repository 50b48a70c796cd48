"""The text of a file that people write: a list, a flag file; whatever editor and system saved it."""

import codecs

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    # Before UTF-16, whose mark UTF-32's begins with.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decoded(content: bytes) -> str:
    """Decodes a file by its byte order mark, which is dropped; without one it is UTF-16 or UTF-8.

    Undecodable bytes of UTF-8 become surrogates, and so reach the file system unchanged where they are part of a path.

    Raises:
        UnicodeDecodeError: the file has the mark of UTF-16 or UTF-32, and is damaged.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            errors = "surrogateescape" if encoding == "utf-8" else "strict"
            return content[len(mark) :].decode(encoding, errors)
    head = content[:4096]
    # Every second byte of UTF-16 is 0 where letters are Latin; no other text has so many.
    if head.count(0) > len(head) // 4:
        return content.decode("utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be")
    return content.decode("utf-8", "surrogateescape")
