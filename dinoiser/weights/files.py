"""Weights files: where they come from, where they are on this machine, and their digests."""

import os
import re
from pathlib import Path
from typing import Annotated, Self

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, StringConstraints, model_validator

from dinoiser.weights.digests import Digest, file_digest

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
GitBlob = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]

PACKAGE_FOLDER = Path(__file__).parents[1]


def cache_dir() -> Path:
    """Folder for downloaded weights: ``DINOISER_CACHE``, or the user's cache folder."""
    chosen = os.environ.get("DINOISER_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(platformdirs.user_cache_dir("napari-dinoiser"))


class FrozenModel(BaseModel):
    """A part of the catalogue: immutable and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _InCache(FrozenModel):
    """A file under its own name in the folder for weights."""

    filename: str

    @property
    def name(self) -> str:
        """The name shown to the user."""
        return self.filename

    def place(self) -> Path:
        """Where the file is stored, whether downloaded or put there by the user."""
        return cache_dir() / self.filename

    def locate(self) -> Path | None:
        """Find the file on this machine; None if it is missing."""
        return self.place() if self.place().is_file() else None


class UrlFile(_InCache):
    """A file at a URL, identified by its digest.

    ``approximate_size`` is in bytes; a download that is a tenth smaller or larger is
    refused. ``unpinned`` is for files published without any digest: the SHA-256 of the
    first good download is kept beside the file, and expected from then on.
    """

    url: str
    approximate_size: PositiveInt
    sha256: Sha256 | None = None
    git_blob: GitBlob | None = None
    unpinned: bool = False

    @model_validator(mode="after")
    def _has_one_digest(self) -> Self:
        if [self.sha256 is None, self.git_blob is None, not self.unpinned].count(False) != 1:
            msg = f"{self.filename} needs exactly one of sha256, git_blob and unpinned: true"
            raise ValueError(msg)
        return self

    @property
    def source(self) -> str:
        """The address from which the user can download the file."""
        return self.url

    @property
    def digest(self) -> Digest | None:
        """Digest that the file must have; None if its authors publish none."""
        if self.sha256 is not None:
            return Digest("sha256", self.sha256)
        return None if self.git_blob is None else Digest("git blob", self.git_blob)

    def expected_digest(self, path: Path) -> Digest | None:
        """Digest that the file at ``path`` must have; None if it is not known."""
        return self._pinned_digest() if self.unpinned else self.digest

    @property
    def pin_path(self) -> Path:
        """Where the digest of the first download is kept, as ``sha256sum`` writes it."""
        return self.place().with_name(f"{self.filename}.sha256")

    def pin(self, path: Path) -> None:
        """Keep the digest of a good download, if its authors publish none."""
        if self.unpinned:
            digest = file_digest(path, "sha256").value
            self.pin_path.write_text(f"{digest}  {self.filename}\n", encoding="utf-8")

    def _pinned_digest(self) -> Digest | None:
        try:
            value = self.pin_path.read_text(encoding="utf-8").partition(" ")[0]
        except (OSError, ValueError):
            return None
        return Digest("sha256", value) if re.fullmatch(r"[0-9a-f]{64}", value) else None


class HubFile(FrozenModel):
    """A file of a model on the Hugging Face hub, fetched through open_clip.

    ``filenames`` lists the names that open_clip accepts, in its order of preference.
    ``approximate_size`` is in bytes and only for display. The hub's client stores the
    file as ``models--<owner>--<name>/blobs/<digest>`` with a link to it under
    ``snapshots``. A large file is named by its SHA-256, a small one by its git blob
    id. Where there are no links, as on Windows without the right to make them, the
    file itself is under ``snapshots``, and we keep the digest beside it.
    """

    repo: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")]
    filenames: Annotated[tuple[str, ...], Field(min_length=1)]
    approximate_size: PositiveInt
    revision: str = "main"

    @property
    def name(self) -> str:
        """The name shown to the user."""
        return f"{self.repo}/{self.filenames[0]}"

    @property
    def source(self) -> str:
        """The address from which the user can download the file."""
        return f"https://huggingface.co/{self.repo}/resolve/{self.revision}/{self.filenames[0]}"

    @property
    def hub_folder(self) -> Path:
        """The folder of the hub's client for this model in our cache."""
        return cache_dir() / f"models--{self.repo.replace('/', '--')}"

    def place(self) -> Path:
        """Where the user can put the file, since the hub's own layout is not meant for that."""
        return cache_dir() / self.repo.replace("/", "--") / self.filenames[0]

    def locate(self) -> Path | None:
        """Find the file, put there by the user or by the hub's client; None if it is missing."""
        by_hand = (self.place().with_name(name) for name in self.filenames)
        return next((path for path in by_hand if path.is_file()), self._locate_download())

    def _locate_download(self) -> Path | None:
        if not self.hub_folder.is_dir():
            return None
        from huggingface_hub import try_to_load_from_cache

        for name in self.filenames:
            path = try_to_load_from_cache(
                self.repo, name, cache_dir=cache_dir(), revision=self.revision
            )
            if isinstance(path, str):
                return Path(path)
        return None

    def expected_digest(self, path: Path) -> Digest | None:
        """Digest that came with the file from the hub; None for a file put there by the user."""
        # one step only: the blob may itself be a link into a store with other names
        blob = path.readlink().name if path.is_symlink() else self._kept_digest(path)
        if re.fullmatch(r"[0-9a-f]{64}", blob):
            return Digest("sha256", blob)
        if re.fullmatch(r"[0-9a-f]{40}", blob):
            return Digest("git blob", blob)
        return None

    def keep_digest(self, path: Path, value: str) -> None:
        """Keep the digest that came with a download from the hub, if no link tells it."""
        if not path.is_symlink():
            _digest_path(path).write_text(value, encoding="utf-8")

    def _kept_digest(self, path: Path) -> str:
        try:
            return _digest_path(path).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ""


def _digest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.digest")


class PackageFile(FrozenModel):
    """A file inside the installed package; ``path`` is relative to the package."""

    path: str
    sha256: Sha256

    @property
    def name(self) -> str:
        """The name shown to the user."""
        return Path(self.path).name

    @property
    def approximate_size(self) -> int:
        """Size in bytes, 0 if the file is missing."""
        path = self.locate()
        return 0 if path is None else path.stat().st_size

    def place(self) -> Path:
        """Where the file is."""
        return PACKAGE_FOLDER / self.path

    def locate(self) -> Path | None:
        """Find the file; None if the installation is incomplete."""
        return self.place() if self.place().is_file() else None

    def expected_digest(self, path: Path) -> Digest | None:
        """Digest that the file at ``path`` must have."""
        return Digest("sha256", self.sha256)


class HandFile(_InCache):
    """A file that is never downloaded: users get it themselves and put it into the cache.

    This is for files behind a form, or whose authors state no licence. ``source`` is
    the page to get it from, ``why`` completes the sentence "It is not downloaded
    automatically, because ...", and ``approximate_size`` is in bytes. Whether the
    file fits is checked when it is read.
    """

    source: str
    why: str
    approximate_size: PositiveInt

    def expected_digest(self, path: Path) -> Digest | None:
        """None: its authors publish no digest."""
        return None


WeightFile = UrlFile | HubFile | PackageFile | HandFile
