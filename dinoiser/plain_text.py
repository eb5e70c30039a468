"""Decode text that people have written, also with editors and shells of Windows."""

import codecs


def decode(data: bytes) -> str:
    """Decode UTF-8 or, where a mark at the start says so, UTF-16.

    Raises
    ------
    ValueError
        It is neither.
    """
    # PowerShell's ">" writes UTF-16, and Notepad can
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        msg = (
            f"byte 0x{data[error.start]:02x} in line {line} is not {error.encoding.upper()} text: "
            "save the file as UTF-8"
        )
        raise ValueError(msg) from error
