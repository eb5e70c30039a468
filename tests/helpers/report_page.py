"""report.html as a browser would take it apart."""

import base64
from html.parser import HTMLParser
from io import BytesIO

from PIL import Image

from dinoiser.batch.records import Record, RecordFile, append_lines
from dinoiser.batch.report.page import write_report


class Page(HTMLParser):
    """Texts and images of a page by the id of their section."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.images, self.rows, self.names = [], {}, {}, {}, {}
        self._open, self._section = [], ""
        self.feed(text)
        self.close()
        assert not self._open, "tags that were never closed"

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        if tag == "section":
            self._section = attrs["id"]
        elif tag == "img":
            self.images.setdefault(self._section, []).append(decode(attrs["src"]))
        elif tag == "tr":
            self.rows.setdefault(self._section, []).append([])
        elif tag in ("td", "th"):
            self.rows[self._section][-1].append("")
        elif tag == "figcaption" and "title" in attrs:
            self.names.setdefault(self._section, []).append(attrs["title"])
        if tag not in ("meta", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts[self._section] = self.texts.get(self._section, "") + data
        if {"td", "th"} & set(self._open):
            self.rows[self._section][-1][-1] += data.strip()

    def text(self, section):
        return " ".join(self.texts[section].split())


def decode(uri):
    head, _, data = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(BytesIO(base64.b64decode(data))).convert("RGB")


def done(name, shares, size=(60, 80), seconds=0.5):
    """Make a record of {label: (pixels, confidence)}."""
    histogram = {
        label: [pixels * (i == int(20 * mean)) for i in range(20)]
        for label, (pixels, mean) in shares.items()
        if mean is not None
    }
    return Record(
        image=name,
        stem=name.rpartition(".")[0],
        path=f"/nowhere/{name}",
        status="done",
        size=size,
        pixels={label: pixels for label, (pixels, _) in shares.items()},
        confidence={label: mean for label, (_, mean) in shares.items() if label != 255},
        histogram=histogram,
        seconds=seconds,
    )


def failed(name, error):
    return Record(image=name, stem=name, path=f"/nowhere/{name}", status="failed", error=error)


def report(output, records, run=None):
    if records:
        RecordFile(output).append(records)
    path = write_report(output, run)
    assert path == output / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def review(output, *decisions):
    append_lines(
        output / "reviews.jsonl",
        b"".join(decision.model_dump_json().encode() + b"\n" for decision in decisions),
    )
