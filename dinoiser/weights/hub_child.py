"""Program that downloads one file from the Hugging Face hub as open_clip does, see ``hub.py``.

Arguments: repository, file name, revision, cache folder. It prints the file's path
and, in another line, its digest; on failure, it prints the reason on stderr and exits
with 1.
"""

import sys
from pathlib import Path


def main(repo: str, filename: str, revision: str, cache: str) -> int:
    """Download the file; open_clip itself prefers a safetensors file of the same model."""
    from open_clip.pretrained import download_pretrained_from_hf

    try:
        path = download_pretrained_from_hf(repo, filename, revision=revision, cache_dir=cache)
    except FileNotFoundError as error:
        cause = _root_cause(error)
        reason = next(iter(str(cause).splitlines()), "")
        sys.stderr.write(f"{type(cause).__name__}: {reason}\n")
        return 1
    sys.stdout.write(f"{path}\n{_digest(repo, Path(path))}\n")
    return 0


def _digest(repo: str, path: Path) -> str:
    """Ask the hub for the digest of a file in ``snapshots/<commit>``, unless a link tells it."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    if path.is_symlink():
        return path.readlink().name
    return get_hf_file_metadata(hf_hub_url(repo, path.name, revision=path.parent.name)).etag or ""


def _root_cause(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
