"""`dinoiser label` as a person runs it, with the embedded model."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
import torch
import yaml
from PIL import Image

from dinoiser.batch.summary import Summary
from dinoiser.cli.console import AT_LEAST_APART
from dinoiser.cli.label import say_summary
from dinoiser.export import read_mask
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scenes
from tests.helpers.band_jobs import NODATA, draw_twice
from tests.helpers.job_driver import count_lines, wait_until

WORDS = "background, red circle, blue star, green square"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    (folder / "deep" / "er").mkdir(parents=True)
    for name, scene in zip(["a.png", "b.jpg", "deep/er/a.webp"], draw_scenes(3, 5), strict=True):
        Image.fromarray(scene.image).save(folder / name)
    return folder


def label(*arguments):
    return ["label", *arguments, "-m", "tiny", "-d", "cpu", "--precision", "fp32"]


def one_sentence(err, *parts):
    """Whether stderr holds one error sentence with these parts and no traceback."""
    errors = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, err
    assert "Traceback" not in err
    for part in parts:
        assert str(part) in errors[0]


def test_a_folder_becomes_masks_previews_and_a_job(dinoiser, images, tmp_path):
    out = tmp_path / "out"
    code, stdout, _ = dinoiser(*label(images, "-p", WORDS, "-o", out))
    assert code == 0
    assert "3 of 3 images labelled" in stdout
    masks = sorted(p.relative_to(out).as_posix() for p in out.rglob("*.png"))
    assert masks == ["masks/a.png", "masks/b.png", "masks/deep/er/a.png"]
    assert (out / "overlays" / "deep" / "er" / "a.jpg").exists()
    with Image.open(out / "masks" / "a.png") as mask:
        assert mask.mode == "P"
        assert set(np.unique(np.asarray(mask))) <= {0, 1, 2, 3}
    job = yaml.safe_load((out / "job.yaml").read_text())
    assert job["model"]["name"] == "tiny"
    assert job["settings"]["short_side"] == 224
    prompts = yaml.safe_load((out / "prompts.yaml").read_text())
    assert [c["name"] for c in prompts["classes"]] == WORDS.split(", ")


def test_json_is_one_document_and_nothing_else(dinoiser, images, tmp_path):
    code, stdout, _ = dinoiser(*label(images, "-p", WORDS, "-o", tmp_path, "--json"))
    document = json.loads(stdout)
    assert code == 0
    assert document["done"] == document["images"] == 3
    assert sum(c["share"] for c in document["classes"]) == pytest.approx(1)


def test_its_prompt_file_gives_the_same_masks(dinoiser, images, tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    dinoiser(*label(images, "-p", WORDS, "-o", first))
    dinoiser(*label(images, "--prompts", first / "prompts.yaml", "-o", second))
    masks = list(first.rglob("*.png"))
    assert len(masks) == 3
    for path in masks:
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()


def test_the_same_command_goes_on_where_it_was(dinoiser, images, tmp_path):
    command = label(images, "-p", WORDS, "-o", tmp_path)
    dinoiser(*command, "--limit", 1)
    mask = tmp_path / "masks" / "a.png"
    before = mask.stat().st_mtime_ns
    code, stdout, _ = dinoiser(*command)
    assert code == 0
    assert "3 of 3 images labelled, 1 of them in an earlier run" in stdout
    assert mask.stat().st_mtime_ns == before
    dinoiser(*command, "--overwrite")
    assert mask.stat().st_mtime_ns > before


def test_a_record_that_a_crash_cut_short_is_done_again(dinoiser, images, tmp_path):
    command = label(images, "-p", WORDS, "-o", tmp_path)
    dinoiser(*command)
    records = tmp_path / "records" / "labels.jsonl"
    whole = records.read_bytes()
    records.write_bytes(whole[:-20])
    code, stdout, _ = dinoiser(*command)
    assert code == 0
    assert "3 of 3 images labelled, 2 of them" in stdout
    last = json.loads(records.read_text().splitlines()[-1])
    assert last["image"] == "deep/er/a.webp"


def test_other_settings_are_not_mixed_into_a_job(dinoiser, images, tmp_path):
    dinoiser(*label(images, "-p", WORDS, "-o", tmp_path))
    kept = (tmp_path / "prompts.yaml").read_bytes()
    code, _, err = dinoiser(
        *label(images, "-p", "background, red circle", "-o", tmp_path, "--stride", 56)
    )
    assert code == 2
    one_sentence(err, "stride was 112, now 56", "blue star", "--overwrite")
    assert (tmp_path / "prompts.yaml").read_bytes() == kept


def test_bad_images_fail_alone(dinoiser, images, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    jpeg = (images / "b.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "text.jpg").write_text("this is no image")
    (folder / "nothing.png").write_bytes(b"")
    (folder / "good.jpg").write_bytes(jpeg)
    for name, size in {"dot.png": (1, 1), "line.png": (3000, 1), "pole.png": (1, 3000)}.items():
        Image.new("RGB", size, "red").save(folder / name)
    command = label(folder, "-p", WORDS, "-o", tmp_path / "out")
    code, stdout, err = dinoiser(*command)
    assert code == 1
    assert "4 of 7 images labelled" in stdout
    assert "Traceback" not in err
    lines = err.splitlines()
    for name in ("truncated.jpg", "text.jpg", "nothing.png"):
        assert sum(line.strip().startswith(f"{name}: ") for line in lines) == 1
    masks = sorted(p.name for p in (tmp_path / "out" / "masks").iterdir())
    assert masks == ["dot.png", "good.png", "line.png", "pole.png"]

    (folder / "truncated.jpg").write_bytes(jpeg)
    code, stdout, _ = dinoiser(*command)  # what has been replaced is tried again
    assert code == 1
    assert "5 of 7 images labelled, 4 of them in an earlier run" in stdout
    code, stdout, _ = dinoiser(*command, "--retry-failed")
    assert "5 of 7 images labelled, 5 of them in an earlier run" in stdout


def test_results_inside_the_input_folder_are_not_taken_for_images(dinoiser, images, tmp_path):
    Image.open(images / "a.png").save(tmp_path / "a.png")
    command = label(tmp_path, "-p", WORDS, "-o", tmp_path)
    assert dinoiser(*command)[0] == 0
    code, stdout, _ = dinoiser(*command)
    assert code == 0
    assert "1 of 1 images labelled" in stdout


def test_a_dry_run_touches_nothing(dinoiser, images, tmp_path):
    out = tmp_path / "out"
    code, stdout, _ = dinoiser(*label(images, "-p", WORDS, "-o", out, "--dry-run"))
    assert code == 0
    assert "deep/er/a.webp" in stdout
    assert "3 images would be labelled" in stdout
    assert not out.exists()


def test_a_dry_run_says_what_stays_and_what_would_go(dinoiser, images, tmp_path):
    images = shutil.copytree(images, tmp_path / "in")
    command = label(images, "-p", WORDS, "-o", tmp_path / "out", "--format", "png")
    assert dinoiser(*command)[0] == 0
    shown = "0 images would be labelled into {}; 3 were labelled earlier and stay.\n"
    assert dinoiser(*command, "--dry-run")[1].endswith(shown.format(tmp_path / "out"))
    gone = next(images.rglob("a.webp"))
    gone.unlink()
    _, _, stderr = dinoiser(*command, "--dry-run")
    assert "no longer among the inputs" in stderr
    _, stdout, _ = dinoiser(*command, "--dry-run", "--prune")
    assert stdout.endswith("The results of 1 image would be removed: deep/er/a.webp.\n")
    assert json.loads(dinoiser(*command, "--dry-run", "--prune", "--json")[1])["removed"] == [
        "deep/er/a.webp"
    ]
    assert len(list((tmp_path / "out").rglob("masks/**/*.png"))) == 3


WRONG = {
    "no words": (["-p", ""], ["no classes"]),
    "an empty class": (["-p", "dog,,cat"], ["class 2"]),
    "a class twice": (["-p", "dog, Dog"], ["Dog"]),
    "no classes at all": ([], ["-p", "--prompts"]),
    "an unknown model": (["-p", "dog", "-m", "clip-dinosaur"], ["clip-dinosaur", "clip-dinoiser"]),
    "an unknown device": (["-p", "dog", "-d", "tpu"], ["tpu", "cpu", "auto"]),
    "an unknown format": (["-p", "dog", "-f", "jpg"], ["jpg", "png"]),
    "a batch size that is none": (["-p", "dog", "--batch-size", "many"], ["many", "auto"]),
    "whole and windows": (["-p", "dog", "--whole", "--stride", "9"], ["stride is 9", "omit"]),
    "a prompt file for words": (["-p", "Words.YAML"], ["Words.YAML", "--prompts"]),
    "a missing prompt file": (["--prompts", "nowhere.yaml"], ["nowhere.yaml"]),
    "missing heads": (["-p", "dog", "--heads", "nowhere.pt"], ["nowhere.pt"]),
}


@pytest.mark.parametrize(("arguments", "parts"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_run_is_one_sentence(dinoiser, images, tmp_path, arguments, parts):
    command = ["label", images, "-o", tmp_path / "out", "-m", "tiny", *arguments]
    code, stdout, err = dinoiser(*command)
    assert code == 2
    assert stdout == ""
    one_sentence(err, *parts)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_without_a_card(dinoiser, images, tmp_path):
    code, _, err = dinoiser(
        "label", images, "-p", "dog", "-o", tmp_path, "-m", "tiny", "-d", "cuda"
    )
    assert code == 2
    one_sentence(err, "cuda", "this machine", "cpu")


def test_an_output_folder_that_cannot_be_written(dinoiser, images, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, _, err = dinoiser(*label(images, "-p", WORDS, "-o", tmp_path / "file" / "out"))
    assert code == 2
    one_sentence(err, tmp_path / "file" / "out")
    assert (tmp_path / "file").read_text() == "in the way"


READ_ONLY = "mount -t tmpfs none {0} && mount -o remount,ro {0}"


def apart(*commands):
    """Run shell commands in a place of their own, where they may mount disks."""
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", " && ".join(commands)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_output_folder_on_a_read_only_disk(images, tmp_path):
    mount = READ_ONLY.format(shlex.quote(str(tmp_path)))
    if not shutil.which("unshare") or apart(mount).returncode:
        pytest.skip("this system does not let its users mount a disk of their own")
    program = [sys.executable, "-c", "from dinoiser.cli import main; main()"]
    command = [*program, *label(images, "-p", WORDS, "-o", tmp_path)]
    done = apart(mount, shlex.join(map(str, command)))
    assert done.returncode == 2
    one_sentence(
        done.stderr, "Cannot write", "give an output folder on a disk that is not read-only"
    )


def test_no_images(dinoiser, tmp_path):
    code, _, err = dinoiser(*label(tmp_path, "-p", WORDS, "-o", tmp_path / "out"))
    assert code == 2
    one_sentence(err, tmp_path)
    code, _, err = dinoiser(*label(tmp_path / "gone", "-p", WORDS, "-o", tmp_path / "out"))
    assert code == 2
    one_sentence(err, tmp_path / "gone")


def test_heads_that_do_not_fit_or_carry_code(dinoiser, images, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"obj_proj.weight": torch.zeros(4, 9, 3, 3)}, tmp_path / "odd.pt")
    torch.save({"obj_proj.weight": Evil()}, tmp_path / "evil.pt")
    for name in ("odd.pt", "evil.pt"):
        command = label(images, "-p", "dog", "-o", tmp_path / "out", "--heads", tmp_path / name)
        code, _, err = dinoiser(*command)
        assert code == 2
        one_sentence(err, tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_without_a_connection_the_default_model_says_what_to_do(dinoiser, images, tmp_path):
    code, _, err = dinoiser("label", images, "-p", "dog", "-o", tmp_path / "out")
    assert code == 2
    one_sentence(err, "open_clip", "-m tiny")


def test_models_list_and_verify(dinoiser):
    code, stdout, _ = dinoiser("models", "list", "--json")
    assert code == 0
    names = [model["name"] for model in json.loads(stdout)]
    assert names[0] == "clip-dinoiser"
    code, stdout, _ = dinoiser("models", "verify", "tiny", "--json")
    assert code == 0
    assert {check["status"] for check in json.loads(stdout)} == {"ok"}
    assert dinoiser("models", "verify", "clip-dinoiser")[0] == 1


def test_info_names_what_a_bug_report_needs(dinoiser):
    code, stdout, _ = dinoiser("info", "--json")
    document = json.loads(stdout)
    assert code == 0
    assert document["versions"]["torch"] == torch.__version__.split("+")[0]
    assert "cpu" in document["devices"]
    assert document["precision"] in ("float32", "bfloat16")
    assert "bfloat16" in document["precision_reason"]
    assert document["models"]["tiny"] == "cached"
    assert not [key for key in document if " " in key]
    assert "precision reason: bfloat16" in dinoiser("info")[1]


def test_classes_without_pixels_are_one_line(tmp_path, capsys):
    prompts = PromptSet.parse(", ".join(f"class {i}" for i in range(1, 15)))
    summary = Summary(1, done=1, pixels={2: 6, 3: 6}, confidence_sums={2: 3.0, 3: 3.0})
    say_summary(tmp_path, prompts, summary)
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[1:4] for line in out[1:3]] == [["class", i, "50.0%"] for i in "23"]
    shown = ", ".join(f"class {i}" for i in (1, *range(4, 13)))
    assert out[3] == f"Without pixels: {shown} and 2 more"


LABELLED = """
import sys
from dinoiser.cli import main
try:
    main()
finally:
    slow = {"open_clip", "torchvision", "timm", "torch._dynamo", "dask.array", "distributed"}
    print(sorted((slow | {"scipy", "skimage"}) & sys.modules.keys()))
"""


def test_a_small_image_needs_nothing_that_is_slow_to_import(images, tmp_path):
    command = label(images / "a.png", "-p", "background, red circle", "-o", tmp_path)
    program = [sys.executable, "-c", LABELLED, *map(str, command)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 images labelled" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_says_how_to_go_on_and_the_rest_is_byte_for_byte_the_same(
    dinoiser, images, tmp_path
):
    folder, out, undisturbed = tmp_path / "in", tmp_path / "out", tmp_path / "undisturbed"
    folder.mkdir()
    for i in range(30):
        shutil.copy(images / "a.png", folder / f"{i:02}.png")
    command = [*label(folder, "-p", WORDS), "-o"]
    program = [sys.executable, "-c", "from dinoiser.cli import main; main()"]
    arguments = [*program, *map(str, command), out]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: count_lines(out) > 0, "labelling")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    one_sentence(err, "Run the same command again")
    assert 0 < count_lines(out) < 30
    assert not list(out.rglob("*.part"))

    for target in (out, undisturbed):
        assert dinoiser(*command, target)[0] == 0
    masks = list(undisturbed.rglob("*.png"))
    assert len(masks) == 30
    for path in masks:
        assert path.read_bytes() == (out / path.relative_to(undisturbed)).read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_a_second_ctrl_c_does_not_wait_for_the_image_that_has_begun(dinoiser, images, tmp_path):
    # minutes for one image
    command = [*label(images / "a.png", "-p", WORDS, "-o", tmp_path), "--short-side", "12000"]
    program = [sys.executable, "-c", "from dinoiser.cli import main; main()"]
    arguments = [*program, *map(str, command)]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    wait_until((tmp_path / "classes.json").is_file, "labelling")
    for _ in range(2):
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    one_sentence(err, "Stopped at once")
    assert not (tmp_path / "masks").exists()


SLOW_TO_END = """
import atexit, os, sys, time
from dinoiser.cli import main
folder = sys.argv[sys.argv.index("-o") + 1]
atexit.register(lambda: (open(os.path.join(folder, "ending"), "x"), time.sleep(60)))
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_a_second_ctrl_c_while_the_process_ends_leaves_no_traceback(images, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for i in range(30):
        shutil.copy(images / "a.png", folder / f"{i:02}.png")
    command = label(folder, "-p", WORDS, "-o", out)
    arguments = [sys.executable, "-c", SLOW_TO_END, *map(str, command)]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: count_lines(out) > 0, "labelling")
    process.send_signal(signal.SIGINT)
    wait_until((out / "ending").is_file, "the end")
    time.sleep(2 * AT_LEAST_APART)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.endswith("Error: Stopped at once.\n")


def test_a_device_that_is_not_there_leaves_no_folder(dinoiser, images, tmp_path):
    out = tmp_path / "out"
    command = ["label", images, "-p", WORDS, "-o", out, "-m", "tiny", "-d", "cuda:99"]
    code, _, err = dinoiser(*command)
    assert code == 2
    one_sentence(err, "Device 'cuda:99' is not available on this machine")
    assert not out.exists()


LITTLE_MEMORY = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))
from dinoiser.cli import main
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits to memory are those of Linux")
def test_an_image_for_which_memory_is_short_fails_in_a_sentence(images, tmp_path):
    command = [*label(images / "a.png", "-p", WORDS, "-o", tmp_path), "--short-side", "40000"]
    program = [sys.executable, "-c", LITTLE_MEMORY, *map(str, command)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "a.png: there is not enough memory for this image; use a smaller --short" in done.stderr
    assert "Traceback" not in done.stderr


def test_pixels_without_data_are_ignored_and_undeclared_ones_named(dinoiser, tmp_path):
    deep = next(draw_scenes(1, 5)).image.astype(np.float32) * 3 + 100
    deep[:40, :50] = -9999
    folder = tmp_path / "images"
    folder.mkdir()
    tag = {"extratags": [(42113, "s", 0, "-9999", True)]}
    tifffile.imwrite(folder / "declared.tif", deep, photometric="rgb", **tag)
    tifffile.imwrite(folder / "silent.tif", deep, photometric="rgb")
    out = tmp_path / "out"
    code, _, stderr = dinoiser(*label(folder, "-p", WORDS, "-o", out))
    assert code == 0
    notes = [line for line in stderr.splitlines() if "-9999" in line]
    assert len(notes) == 1
    assert "silent.tif" in notes[0]
    assert "declared.tif" not in notes[0]
    assert "--nodata -9999" in notes[0]
    mask = read_mask(out / "masks" / "declared.png")
    assert (mask[:40, :50] == 255).all()
    assert (mask[40:] != 255).all()
    assert (read_mask(out / "masks" / "silent.png") != 255).all()

    given = tmp_path / "given"
    command = label(folder, "-p", WORDS, "-o", given, "--nodata", "-9999")
    code, _, stderr = dinoiser(*command)
    assert code == 0
    assert "-9999" not in stderr
    assert (read_mask(given / "masks" / "silent.png") == mask).all()
    # the value decides about masks, so that a job cannot go on with another one
    assert dinoiser(*command)[0] == 0
    code, _, stderr = dinoiser(*label(folder, "-p", WORDS, "-o", given))
    assert code == 2
    one_sentence(stderr, "nodata was -9999")


def test_bands_are_chosen_counted_from_one(dinoiser, tmp_path):
    plain, banded, _ = draw_twice(tmp_path / "images", 2)
    # without a choice, the message names the option that cures it
    out = tmp_path / "out"
    code, _, stderr = dinoiser(*label(banded, "-p", WORDS, "-o", out))
    assert code == 1
    assert "has 4 bands and does not say which" in stderr
    [cure] = set(re.findall(r"dinoiser label (--bands [\d,]+)`", stderr))
    assert dinoiser(*label(banded, "-p", WORDS, "-o", tmp_path / "cured"), *cure.split())[0] == 0

    chosen = ("--bands", "4,3,2", "--nodata", NODATA)
    assert dinoiser(*label(plain, "-p", WORDS, "-o", tmp_path / "plain"))[0] == 0
    command = label(banded, "-p", WORDS, "-o", tmp_path / "banded", *chosen)
    assert dinoiser(*command)[0] == dinoiser(*command)[0] == 0
    for place in ("masks/0.png", "masks/1.png", "overlays/0.jpg", "overlays/1.jpg"):
        assert (tmp_path / "plain" / place).read_bytes() == (
            tmp_path / "banded" / place
        ).read_bytes()
    code, _, stderr = dinoiser(*label(banded, "-p", WORDS, "-o", tmp_path / "banded"))
    assert code == 2
    one_sentence(stderr, "bands was [4, 3, 2], now not set")
    # an image that lacks a band fails alone
    command = label(banded, plain / "0.tif", "-p", WORDS, "-o", tmp_path / "mixed", *chosen)
    code, stdout, stderr = dinoiser(*command)
    assert code == 1
    assert "2 of 3 images labelled" in stdout
    assert "has 3 bands, and --bands 4,3,2 asks for band 4" in stderr


@pytest.mark.parametrize("bands", ["4,3", "0,1,2", "red,green,blue", "4;3;2", "", "1.5", "1,2,3,4"])
def test_bands_that_cannot_be_are_refused_before_all_else(dinoiser, tmp_path, bands):
    command = label(tmp_path / "missing", "-p", WORDS, "-o", tmp_path / "out", "--bands", bands)
    code, _, stderr = dinoiser(*command)
    assert code == 2
    one_sentence(stderr, "expected one number (grey) or three (red, green, blue), counted from 1")
    assert not (tmp_path / "out").exists()


def test_help_says_that_bands_are_counted_from_one(dinoiser):
    said = " ".join(re.sub(r"[│\s]+", " ", dinoiser("label", "--help")[1]).split())
    assert "counted from 1 as in GDAL and QGIS: 4,3,2" in said


def test_a_mask_that_cannot_be_exported_is_named_when_the_job_goes_on(dinoiser, images, tmp_path):
    out = tmp_path / "out"
    command = label(images, "-p", WORDS, "-o", out, "-f", "coco")
    assert dinoiser(*command)[0] == 0
    mask = min((out / "masks").rglob("*.png"))
    height, width = read_mask(mask).shape
    Image.new("RGB", (width, height), (1, 2, 3)).save(mask)
    code, stdout, stderr = dinoiser(*command)
    assert code == 1
    everything = len(list((out / "masks").rglob("*.png")))
    assert f"1 of {everything} images could not be exported" in stderr
    assert "has the colour #010203" in stderr
    assert f"{everything} of {everything} images labelled" in stdout
    assert len(json.loads((out / "annotations.json").read_text())["images"]) == everything - 1
