"""The command: exit codes, one line an error, and the demonstration."""

import pytest

import gnnlib
from gnnlib.cli import main

TRAIN = ["train", "--data.name", "KarateClub", "--model.name", "gcn", "--accelerator", "cpu"]
TRAIN += ["--epochs", "10"]


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gnnlib {gnnlib.__version__}\n"


def test_train_prints_a_table_and_resumes(tmp_path, capsys):
    out = ["--out", str(tmp_path / "run")]
    assert main(TRAIN + out) == 0
    printed = capsys.readouterr().out
    assert "KarateClub" in printed
    assert "accuracy" in printed
    assert main([*TRAIN, *out, "--resume"]) == 0
    assert (tmp_path / "run" / "curves.png").exists()


def test_the_default_folder_is_named_after_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(TRAIN) == 0
    assert (tmp_path / "runs" / "KarateClub-split0-gcn-seed0" / "result.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.name", "Nonesuch"], "Nonesuch"),
        (["--resume"], "nothing to resume"),
    ],
)
def test_an_error_of_the_users_is_one_line(tmp_path, capsys, arguments, message):
    assert main([*TRAIN, "--out", str(tmp_path / "run"), *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize("arguments", [["train"], [*TRAIN, "--lr", "-1"], ["fly"]])
def test_arguments_that_do_not_parse(capsys, arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert capsys.readouterr().err


def test_ctrl_c(tmp_path, capsys, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt("stopped after epoch 1")

    monkeypatch.setattr("gnnlib.cli.train", stop)
    assert main([*TRAIN, "--out", str(tmp_path / "run")]) == 130
    printed = capsys.readouterr().err
    assert printed == "stopped after epoch 1; repeat the command with --resume to continue\n"


def test_demo_compares_four_runs_and_repeats_none(tmp_path, capsys, monkeypatch):
    arguments = ["demo", "--out", str(tmp_path / "demo"), "--epochs", "10"]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert first.count("KarateClub") == first.count("RootNeighbors") == 2
    for name in ("curves.png", "karate-actions.png"):
        assert (tmp_path / "demo" / name).read_bytes().startswith(b"\x89PNG")
    monkeypatch.delattr("gnnlib.training._train.train")
    assert main(arguments) == 0
    assert capsys.readouterr().out == first
