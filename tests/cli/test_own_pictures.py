"""From a folder of photos to predictions: what docs/data.md describes, with pictures that the test draws."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageGrab

from chainrule.cli import main
from chainrule.training import run as runs


def run_command(*arguments):
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return end.value.code


def draw(kind, seed):
    """A bright disk or bar on a dark ground."""
    rng = np.random.default_rng(seed)
    width, height = (int(n) for n in rng.integers(30, 60, 2))
    image = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(0, 60, 3)))
    x, y, r = width / 2, height / 2, min(width, height) * 0.35
    box = (x - r, y - r, x + r, y + r) if kind == "disk" else (x - r, y - r / 4, x + r, y + r / 4)
    pen = ImageDraw.Draw(image)
    (pen.ellipse if kind == "disk" else pen.rectangle)(box, fill=tuple(int(v) for v in rng.integers(160, 255, 3)))
    return image


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    for k, kind in enumerate(("bar", "disk")):
        (folder / "photos" / kind).mkdir(parents=True)
        for i in range(36):
            draw(kind, 100 * k + i).save(folder / "photos" / kind / f"{i}.{('png', 'jpg')[i % 2]}")
    draw("disk", 999).save(folder / "new.webp")
    return folder


@pytest.fixture(scope="module")
def trained(desk):
    photos, out = str(desk / "photos"), str(desk / "run")
    code = run_command(
        "train", "--data", photos, "--model", "cnn", "--image-size", "16", "--epochs", "6", "--out", out, "--quiet"
    )
    assert code == 0
    return runs.find(out)


def test_the_network_learns_and_the_config_says_on_what(desk, trained):
    section = trained.config["data"]
    assert section["image_shape"] == [3, 16, 16]
    assert section["classes"] == ["bar", "disk"]
    assert section["photos"]
    assert trained.config["model"]["options"]["channels"] == 3
    assert trained.result["test_accuracy"] > 0.9


def test_resume_and_evaluate_read_the_same_split(trained, capsys, tmp_path):
    assert run_command("evaluate", str(trained.folder), "--json", "--mistakes", str(tmp_path / "m.png")) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["accuracy"] == trained.result["test_accuracy"]
    assert sum(map(sum, document["confusion"])) == 12
    assert run_command("train", "--resume", str(trained.folder), "--epochs", "7", "--quiet") == 0


def test_predict(desk, trained, capsys):
    assert run_command("predict", str(desk / "new.webp"), "--run", str(trained.folder), "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["class"] == "disk"
    assert sum(entry["confidences"].values()) == pytest.approx(1)
    assert run_command("predict", str(desk / "nothing.png"), "--run", str(trained.folder)) == 2
    assert "nothing.png" in capsys.readouterr().err


def predict_json(capsys, run, *arguments):
    """The exit code of `predict --json` with a run, and the name of each picture with its class or its error."""
    code = run_command("predict", *arguments, "--run", str(run.folder), "--json")
    return code, [
        (entry["file"], entry.get("class", entry.get("error"))) for entry in json.loads(capsys.readouterr().out)
    ]


def test_predict_names_a_missing_picture_as_it_was_given(desk, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    draw("bar", 998).save(tmp_path / "bar.png")
    assert predict_json(capsys, trained, "empty", "bar.png", "missing.png") == (
        2,
        [
            ("empty", "empty: this folder contains no pictures"),
            ("bar.png", "bar"),
            ("missing.png", "missing.png: there is no such file"),
        ],
    )
    assert run_command("predict", "empty", "--run", str(trained.folder)) == 2
    assert capsys.readouterr().err == "chainrule: empty: this folder contains no pictures\n"


def test_predict_from_the_clipboard(trained, monkeypatch, capsys):
    monkeypatch.setattr(ImageGrab, "grabclipboard", lambda: draw("bar", 998))
    assert predict_json(capsys, trained, "--clipboard") == (0, [("clipboard", "bar")])
    monkeypatch.setattr(ImageGrab, "grabclipboard", lambda: None)
    assert predict_json(capsys, trained, "--clipboard") == (2, [("clipboard", "clipboard: it contains no picture")])


def pipe(monkeypatch, data):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False))


def test_predict_from_standard_input(desk, trained, monkeypatch, capsys):
    pipe(monkeypatch, (desk / "new.webp").read_bytes())
    assert predict_json(capsys, trained, "-") == (0, [("standard input", "disk")])
    pipe(monkeypatch, b"nothing")
    code, ((file, error),) = predict_json(capsys, trained, "-")
    assert (code, file) == (2, "standard input")
    assert error.startswith("standard input: not an image in one of the formats")


def test_predict_the_page_of_a_document(trained, tmp_path, monkeypatch, capsys):
    pytest.importorskip("pypdfium2", reason="the extra pdf is not installed")
    monkeypatch.chdir(tmp_path)
    draw("bar", 998).save("pages.pdf", save_all=True, append_images=[draw("disk", 999)])
    assert predict_json(capsys, trained, "pages.pdf", "--page", "2") == (0, [("pages.pdf, page 2 of 2", "disk")])
    missing_page = "pages.pdf: there is no page 3; the document has 2 pages"
    assert predict_json(capsys, trained, "pages.pdf", "--page", "3") == (2, [("pages.pdf", missing_page)])


def test_validation_images_without_some_classes_are_told(tmp_path, monkeypatch, capsys):
    """120 images sorted by class: the last 20 are all of the last one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sorted").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (132, 6, 6)).astype(np.uint8)
    for name, rows, labels in (
        ("train", slice(120), np.repeat([0, 1, 2], [72, 24, 24])),
        ("test", slice(120, 132), np.arange(12) % 3),
    ):
        np.save(tmp_path / "sorted" / f"{name}-images.npy", images[rows])
        np.save(tmp_path / "sorted" / f"{name}-labels.npy", labels)
    assert run_command("train", "--data", "sorted", "--epochs", "1", "--out", "r") == 0
    assert "(the last 20, for validation, include no 0: shuffle the images)" in capsys.readouterr().out
    order = np.random.default_rng(0).permutation(120)
    for kind in ("images", "labels"):
        file = tmp_path / "sorted" / f"train-{kind}.npy"
        np.save(file, np.load(file)[order])
    assert run_command("train", "--data", "sorted", "--epochs", "1", "--out", "s") == 0
    assert "random order" not in capsys.readouterr().out


def test_classes_of_copies_leave_no_test_images(desk, tmp_path, capsys):
    """All copies of a picture are put on one side."""
    for kind in ("bar", "disk"):
        (tmp_path / "copies" / kind).mkdir(parents=True)
        for i in range(6):
            draw(kind, 1).save(tmp_path / "copies" / kind / f"{i}.png")
    arguments = ("--epochs", "1", "--image-size", "16", "--out", str(tmp_path / "run"))
    assert run_command("train", "--data", str(tmp_path / "copies"), *arguments) == 2
    assert "copies has no picture left for the test: at least 3 different ones" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_gray_models_in_color_and_npz(desk, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = (rng.integers(0, 100, (60, 8, 8)) + 120 * y[:, None, None]).astype(np.uint8)
    np.savez("small.npz", x=x, y=np.array(["dark", "bright"])[y])
    assert run_command("train", "--data", "small.npz", "--model", "mlp", "--epochs", "20", "--out", "r", "--quiet") == 0
    assert runs.find("r").config["data"]["classes"] == ["bright", "dark"]
    assert runs.find("r").result["test_accuracy"] == 1
    capsys.readouterr()
    assert run_command("train", "--data", "small.npz", "--image-size", "8") == 2
    assert "--image-size is for a folder of class folders with pictures" in capsys.readouterr().err
