"""Program that downloads one file from the Hugging Face hub as open_clip does, see ``hub.py``.

Arguments: repository, file name, revision, cache folder. It prints the file's path;
on failure, it prints the reason on stderr and exits with 1.
"""

import sys


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
    sys.stdout.write(f"{path}\n")
    return 0


def _root_cause(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
