"""`dinoiser evaluate` on made-up benchmarks with the embedded model."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from sklearn.metrics import jaccard_score

from dinoiser.batch import read_records
from dinoiser.evaluation import benchmarks
from dinoiser.evaluation.benchmark_run import BenchmarkJob, evaluate
from dinoiser.evaluation.benchmarks import find_benchmark
from dinoiser.images import read_image
from dinoiser.models.base import PatchFeatures
from dinoiser.models.catalog import find_model, list_models
from dinoiser.models.clip_dinoiser import DinoiserHeads
from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scenes
from dinoiser.segment.segmenter import Segmenter
from dinoiser.segment.settings import SegmentSettings
from dinoiser.segment.windows import WindowLayout
from tests.helpers.benchmark_folders import write_benchmark

COUNT = 3
# the paper's, but for the sizes, which are those of the embedded model
PROTOCOL = SegmentSettings(antialias=False, refine="none")


@pytest.fixture(scope="module")
def drawn():
    return list(draw_scenes(COUNT, 6, (120, 168), hard=True))


@pytest.fixture(scope="module")
def scenes(drawn):
    return [scene.image for scene in drawn]


@pytest.fixture(autouse=True, scope="module")
def _words_that_the_model_knows(drawn):
    """Ask for drawn shapes where the benchmarks ask for aeroplanes."""
    names = dict.fromkeys(name for scene in drawn for name in (*scene.names, *scene.absent))
    with pytest.MonkeyPatch.context() as patch:
        for benchmark in ("voc", "voc20", "context"):
            words = ["background", *names][:15]
            patch.setitem(benchmarks._document()[benchmark], "classes", words)
        yield


@pytest.fixture
def real_classes(monkeypatch):
    """The classes that the module's words stand in for."""
    real = yaml.safe_load(benchmarks.BENCHMARKS_PATH.read_text())
    monkeypatch.setattr(benchmarks, "_document", lambda: real)


def published_protocol(model, benchmark, image):
    """Label an image as section 4.1 of the paper says; indices into the classes."""
    prompts = PromptSet.from_names(benchmark.classes)
    return Segmenter(model, PROTOCOL).segment(image, prompts).labels


@pytest.fixture(scope="module")
def voc20(tiny, scenes, tmp_path_factory):
    """VOC of a few scenes, labelled as the model does but for the top; its predictions."""
    root = tmp_path_factory.mktemp("voc20")
    blank = [(image, np.zeros(image.shape[:2], np.uint8)) for image in scenes]
    write_benchmark("voc20", root, blank)
    benchmark = find_benchmark("voc20")
    pairs = benchmark.find_pairs(root)
    predicted = [published_protocol(tiny, benchmark, read_image(pair.image)) for pair in pairs]
    truths = [labels.copy() for labels in predicted]
    for labels in truths:
        labels[:30] = 3  # bird
        labels[30:40] = 0
        labels[40:45] = 255
    write_benchmark("voc20", root, list(zip(scenes, truths, strict=True)))
    return root, np.stack(predicted), np.stack(truths)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An output folder that tests share: the masks of one are used again by the others."""
    return tmp_path_factory.mktemp("finished")


def job(root, output, benchmark="voc20"):
    return BenchmarkJob(benchmark, root, output, "tiny", "cpu", scheduler="sync")


def test_figures_are_those_of_the_published_protocol(voc20, dinoiser, finished):
    root, predicted, true = voc20
    known = (true != 255) & (true != 0)
    seen = np.union1d(true[known], predicted[known])
    expected = jaccard_score(true[known], predicted[known], labels=seen, average=None)
    assert len(seen) > 2
    assert 0 < expected.mean() < 1
    code, out, err = dinoiser(
        *("evaluate", "voc20", "--root", root, "-m", "tiny", "-d", "cpu"),
        *("-o", finished, "--json"),
    )
    assert code == 0, err
    document = json.loads(out)
    assert document["miou"] == pytest.approx(expected.mean())
    ious = {name: iou for name, iou in document["per_class"].items() if iou is not None}
    names = ["background", *find_benchmark("voc20").classes]
    assert ious == pytest.approx({names[i]: v for i, v in zip(seen, expected, strict=True)})
    assert document["images"] == COUNT
    assert json.loads((finished / "evaluation.json").read_text()) == document


@pytest.mark.slow
def test_labels_are_as_published_unless_pamr_is_asked_for(voc20, dinoiser, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(benchmarks._document()["voc20"]["published_with_pamr"], "tiny", 64.1)
    arguments = ("evaluate", "voc20", "--root", voc20[0], "-m", "tiny", "-d", "cpu")
    code, out, err = dinoiser(*arguments)
    assert code == 0, err
    assert "as published, without refined edges (refine: none)" in " ".join(out.split())
    code, out, err = dinoiser(*arguments, "--refine", "pamr")
    assert code == 0, err
    assert "refined by PAMR (refine: pamr)" in " ".join(out.split())
    plain, refined = (
        json.loads((tmp_path / "evaluation" / name / "evaluation.json").read_text())
        for name in ("voc20-tiny", "voc20-tiny-pamr")
    )
    assert plain["miou"] != refined["miou"]
    assert plain["published_miou"] is None
    assert refined["published_miou"] == pytest.approx(0.641)
    assert dinoiser(*arguments, "--refine", "magic")[0] == 2


def test_the_paper_is_shown_beside_what_was_measured(voc20, dinoiser, finished, monkeypatch):
    monkeypatch.setitem(benchmarks._document()["voc20"]["published"], "tiny", 62.1)
    arguments = ("--root", voc20[0], "-m", "tiny", "-d", "cpu", "-o", finished)
    code, out, err = dinoiser("evaluate", "voc20", *arguments)
    assert code == 0, err
    document = json.loads((finished / "evaluation.json").read_text())
    miou, ious = document["miou"], document["per_class"]
    assert f"mIoU {100 * miou:.1f} over 3 images; the paper reports 62.1." in out
    assert "official split has 1449 images" in out
    page = (finished / "evaluation.md").read_text()
    assert f"mIoU {100 * miou:.1f} over 3 images; the paper reports 62.1." in page
    assert all(f"| {name} | {100 * iou:.1f} |" in page for name, iou in ious.items() if iou)


class TestConfig:
    def test_a_row_of_the_papers_tables_is_computed(self, tiny, scenes, dinoiser, tmp_path):
        """Objects without the test of uncertainty, over features that are not pooled."""
        config = tmp_path / "row.yaml"
        config.write_text("pooling: none\ndelta: 1\n")
        blank = np.zeros(scenes[0].shape[:2], np.uint8)
        write_benchmark("voc", tmp_path, [(scenes[0], blank)])
        benchmark = find_benchmark("voc")
        [pair] = benchmark.find_pairs(tmp_path)
        model = load_model("tiny:pooling=none", "cpu", "fp32")
        segmenter = Segmenter(model, antialias=False, refine="none", delta=1.0)
        prompts = PromptSet.from_names(benchmark.classes)
        expected = segmenter.segment(read_image(pair.image), prompts).labels
        write_benchmark("voc", tmp_path, [(scenes[0], expected)])
        arguments = ("--root", tmp_path, "-m", "tiny", "-d", "cpu", "-o", tmp_path / "out")
        code, out, err = dinoiser("evaluate", "voc", *arguments, "--config", config, "--json")
        assert code == 0, err
        document = json.loads(out)
        assert document["miou"] == 1
        assert document["model"] == "tiny:pooling=none"
        assert document["protocol"]["delta"] == 1
        assert document["published_miou"] is None

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("poling: none", "there is no 'poling' (did you mean 'pooling'?)"),
            (
                "detla: 1",
                "(did you mean 'delta'?), expected pooling, objects, gamma, delta, refine",
            ),
            ("delta: 2", "delta is 2, expected a confidence from 0 to 1"),
            ("- 1", "is not a file of settings"),
            ("gamma: [", "row.yaml cannot be read (while parsing"),
            ("gamma: much", "gamma is 'much', expected"),
        ],
    )
    def test_what_is_wrong_with_it_is_one_sentence(self, text, message, dinoiser, tmp_path):
        config = tmp_path / "row.yaml"
        config.write_text(text)
        code, _, err = dinoiser("evaluate", "voc", "--root", tmp_path, "--config", config)
        assert code == 2
        assert message in " ".join(err.split())
        assert "row.yaml" in err


def test_several_heads_give_a_mean_and_a_deviation(voc20, tiny, dinoiser, tmp_path):
    arguments = ["--root", voc20[0], "-m", "tiny", "-d", "cpu", "-o", tmp_path / "out", "--json"]
    heads = find_model("tiny").heads.place()
    for number, scale in enumerate((1.0, -1.0)):
        path = tmp_path / f"heads-{number}.safetensors"
        other = DinoiserHeads.load(heads)
        other.obj_proj.bias.data *= scale
        other.save(path)
        arguments += ["--heads", path]
    code, out, err = dinoiser("evaluate", "voc20", *arguments)
    assert code == 0, err
    document = json.loads(out)
    figures = [one["miou"] for one in document["heads"].values()]
    assert list(document["heads"]) == ["heads-0", "heads-1"]
    assert figures[0] != figures[1]
    assert document["miou"] == pytest.approx(np.mean(figures))
    assert document["miou_deviation"] == pytest.approx(np.std(figures, ddof=1))
    assert (tmp_path / "out" / "heads-1" / "evaluation.json").is_file()
    twice = ("--heads", tmp_path / "heads-0.safetensors", "--heads", heads.parent / "heads-0.pt")
    code, _, err = dinoiser("evaluate", "voc20", *arguments[:8], *twice)
    assert code == 2
    assert "Several files of heads are named 'heads-0'" in err


def test_a_stopped_run_goes_on_to_the_same_figures(voc20, scenes, tmp_path):
    many = 8  # of each scene: more than are under way when it stops, which are finished
    write_benchmark("voc20", tmp_path, list(zip(scenes, voc20[2], strict=True)) * many)
    whole = evaluate(job(tmp_path, tmp_path / "whole"))

    def stop(progress):
        if progress.through == 1:
            raise KeyboardInterrupt

    output = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        evaluate(job(tmp_path, output), progress=stop)
    assert not (output / "evaluation.json").exists()
    masks = [output / "masks" / f"{record.stem}.png" for record in read_records(output)]
    before = [mask.stat().st_mtime_ns for mask in masks]
    assert 0 < len(masks) < many * COUNT
    resumed = evaluate(job(tmp_path, output))
    assert resumed.matrix.counts.tolist() == whole.matrix.counts.tolist()
    assert [mask.stat().st_mtime_ns for mask in masks] == before


def test_a_damaged_image_is_left_out_and_said(voc20, scenes, dinoiser, tmp_path):
    write_benchmark("voc20", tmp_path, list(zip(scenes, voc20[2], strict=True)))
    broken = tmp_path / "VOCdevkit/VOC2012/JPEGImages/2007_000001.jpg"
    broken.write_bytes(broken.read_bytes()[:40])
    arguments = ("--root", tmp_path, "-m", "tiny", "-d", "cpu", "-o", tmp_path / "out", "--json")
    code, out, err = dinoiser("evaluate", "voc20", *arguments)
    assert code == 1
    document = json.loads(out)
    assert document["images"] == COUNT - 1
    assert list(document["failed"]) == ["2007_000001.jpg"]
    assert "1 of 3 images failed" in err


def test_a_wrong_folder_is_one_sentence(dinoiser, tmp_path):
    code, out, err = dinoiser("evaluate", "voc", "--root", tmp_path, "-m", "tiny")
    assert code == 2
    assert out == ""
    assert "VOC2012/ImageSets/Segmentation/val.txt" in err
    assert len(err.strip().splitlines()) == 1


def test_a_wrong_setting_is_said_before_the_folder_is_searched(dinoiser, tmp_path):
    code, _, err = dinoiser("evaluate", "voc20", "--root", tmp_path, "--refine", "edge")
    assert code == 2
    assert "--refine is 'edge', expected 'edges' or 'pamr' or 'none'" in err


def test_labels_of_another_size_are_refused(voc20, scenes, tmp_path):
    truths = [labels[:-1] for labels in voc20[2]]
    write_benchmark("voc20", tmp_path, list(zip(scenes, truths, strict=True)))
    with pytest.raises(ValueError, match="168x120 pixels but its labels have 168x119"):
        evaluate(job(tmp_path, tmp_path / "out"))


def test_models_are_evaluated_with_the_windows_they_were_published_with():
    published = [m for m in list_models() if m.source != "embedded in the package"]
    assert len(published) >= 6
    for model in published:
        entry = find_model(model.name)
        for benchmark in ("coco-object", "ade20k"):
            settings = find_benchmark(benchmark).settings(entry)
            smoothed = settings.antialias
            # by Pillow, the others by OpenCV
            assert smoothed == (entry.method in ("dinotxt", "tips"))
            assert settings.delta == (0.99 if benchmark == "coco-object" else 0)
            assert settings.windows(entry.windows) == replace(
                SegmentSettings().windows(entry.windows), antialias=smoothed
            )


@pytest.mark.parametrize(
    ("benchmark", "size", "windows"),
    [
        ("voc", (336, 448), 1),
        ("voc20", (336, 448), 1),
        ("context", (336, 448), 6),
        ("cityscapes", (560, 1120), 36),
    ],
)
def test_naclip_sees_voc_whole_and_cityscapes_larger(benchmark, size, windows):
    entry = find_model("naclip")
    chosen = find_benchmark(benchmark).settings(entry).windows(entry.windows)
    layout = WindowLayout.plan((1024, 2048) if benchmark == "cityscapes" else (375, 500), chosen)
    assert layout.working_size == size
    assert len(layout.windows) == windows


@pytest.mark.parametrize(
    ("benchmark", "percent"),
    [("voc", 64.1), ("context", 35), ("coco-object", 36.2), ("cityscapes", 38.3), ("ade20k", 19.1)],
)
def test_naclip_was_published_with_pamr(benchmark, percent):
    found = find_benchmark(benchmark)
    assert found.published_miou("naclip", "pamr") == pytest.approx(percent / 100)
    assert found.published_miou("naclip", "none") is None
    assert found.published_miou("clip-dinoiser", "pamr") is None


def asked(benchmark, method):
    return {c.name: list(c.phrases) for c in find_benchmark(benchmark).prompts(method).classes}


@pytest.mark.parametrize(
    ("benchmark", "method", "words"),
    [
        ("voc20", "talk2dino", {"dining table": "diningtable", "potted plant": "pottedplant"}),
        ("voc", "talk2dino", {"dining table": "dining table", "potted plant": "potted plant"}),
        ("coco-object", "talk2dino", {"aeroplane": "airplane"}),
        ("coco-object", "clip-dinoiser", {"aeroplane": "aeroplane"}),
        ("voc20", "naclip", {"dining table": "dining table"}),
    ],
)
@pytest.mark.usefixtures("real_classes")
def test_a_method_is_asked_in_its_own_words(benchmark, method, words):
    found = asked(benchmark, method)
    assert list(found) == list(find_benchmark(benchmark).classes)
    assert {name: found[name] for name in words} == {n: [word] for n, word in words.items()}


@pytest.mark.usefixtures("real_classes")
def test_naclip_names_the_surroundings():
    assert len(asked("voc", "naclip")["background"]) == 26
    assert "fence" in asked("coco-object", "naclip")["background"]
    assert asked("context", "naclip")["background"] == ["background"]


@pytest.mark.parametrize("name", ["voc", "context"])
def test_the_background_filter_runs_for_voc_and_not_for_context(name, tiny, scenes, tmp_path):
    benchmark = find_benchmark(name)
    blank = np.zeros(scenes[0].shape[:2], np.uint8)
    write_benchmark(name, tmp_path, [(scenes[0], blank)])
    [pair] = benchmark.find_pairs(tmp_path)
    encoded = Segmenter(tiny, PROTOCOL).encode(read_image(pair.image))
    prompts = PromptSet.from_names(benchmark.classes)
    filtered = encoded.segment(prompts).labels
    without_objectness = PatchFeatures(encoded.patches.features, None)
    unfiltered = replace(encoded, patches=without_objectness).segment(prompts).labels
    assert (filtered != unfiltered).any()
    expected = filtered if name == "voc" else unfiltered
    write_benchmark(name, tmp_path, [(scenes[0], expected)])
    assert evaluate(job(tmp_path, tmp_path / "out", name)).matrix.mean() == 1
