"""Download CLIP from the Hugging Face hub through open_clip, in a separate process.

open_clip's download offers neither progress nor a way to stop it, and the hub's
client reads its settings only once, on import. A child process can be watched,
stopped and given its own settings. Its program is ``hub_child.py``.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import requests

from dinoiser.weights.download import ByteProgress, DownloadError
from dinoiser.weights.files import HubFile, cache_dir
from dinoiser.weights.transfer import TIMEOUTS, Cancelled, DownloadCancelledError

CHILD_PROGRAM = Path(__file__).with_name("hub_child.py")
CHILD_SETTINGS = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    # over plain HTTP, the file in the cache grows during the download, which shows the progress
    "HF_HUB_DISABLE_XET": "1",
}
# the code page of Windows, which is the default there, lacks letters that a path may have
_ENCODING, _UNDECODABLE = "utf-8", "surrogateescape"
POLL_SECONDS = 0.2


def download_from_hub(
    file: HubFile, progress: ByteProgress | None, cancelled: Cancelled | None
) -> Path:
    """Download a file of a hub model into our cache folder.

    The hub's client resumes an interrupted connection by itself; a download that was
    stopped starts over.

    Parameters
    ----------
    file
        The file to download.
    progress
        Called a few times per second.
    cancelled
        Called a few times per second; True stops the download.

    Returns
    -------
    Path
        The file's path in the hub's layout below `cache_dir`.

    Raises
    ------
    DownloadError
        If the hub cannot be reached or has no such file.
    DownloadCancelledError
        If ``cancelled`` returned True.
    """
    _require_hub()
    # -P: modules beside the program must not shadow others of the same name
    program = [sys.executable, "-P", str(CHILD_PROGRAM)]
    child = subprocess.Popen(
        [*program, file.repo, file.filenames[-1], file.revision, str(cache_dir())],
        env={
            **CHILD_SETTINGS,
            **os.environ,
            "PYTHONIOENCODING": f"{_ENCODING}:{_UNDECODABLE}",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding=_ENCODING,
        errors=_UNDECODABLE,
    )
    try:
        output, errors = _watch(child, file, progress, cancelled)
    finally:
        _stop(child)
    if child.returncode != 0:
        reason = errors.strip().splitlines()[-1:] or [f"exit code {child.returncode}"]
        msg = f"the Hugging Face hub did not deliver {file.repo}, {reason[0]}"
        raise DownloadError(msg)
    place, digest = output.splitlines()[-2:]
    path = Path(place)
    file.keep_digest(path, digest)
    if progress is not None:
        size = path.stat().st_size
        progress(file.name, size, size)
    return path


def _require_hub() -> None:
    """Fail at once if the hub cannot be reached; its own client retries for over a minute."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        requests.head(endpoint, timeout=TIMEOUTS)
    except requests.RequestException as error:
        msg = f"{endpoint} cannot be reached, {type(error).__name__}"
        raise DownloadError(msg) from error


def _watch(
    child: subprocess.Popen[str],
    file: HubFile,
    progress: ByteProgress | None,
    cancelled: Cancelled | None,
) -> tuple[str, str]:
    started = time.time()
    while True:
        if cancelled is not None and cancelled():
            raise DownloadCancelledError
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.communicate(timeout=POLL_SECONDS)
        done = _bytes_here(file.hub_folder, started)
        if progress is not None and done:
            progress(file.name, done, max(done, file.approximate_size))


def _bytes_here(hub_folder: Path, started: float) -> int:
    """Size of the file being downloaded, which the hub's client calls ``<digest>.*incomplete``."""
    sizes = [0]
    for path in hub_folder.glob("blobs/*.incomplete"):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            if status.st_mtime >= started:  # not a leftover of an earlier download
                sizes.append(status.st_size)
    return max(sizes)


def _stop(child: subprocess.Popen[str]) -> None:
    if child.poll() is not None:
        return
    # after an interrupt, the hub's client removes its unfinished file; Windows can only terminate
    child.terminate() if sys.platform == "win32" else child.send_signal(signal.SIGINT)
    try:
        child.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
