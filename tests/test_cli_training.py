"""train, evaluate and models as a person types them, on real Maildirs."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest
import template

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "corpus" / "linkedin"
ADS = ("partner_inmail", "linkedin_marketing")
WANTED = ("job_alert", "newsletter", "recruiter_inmail", "member_message")


def unpitch(state: Path, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "UNPITCH_STATE": str(state), "COLUMNS": "80", "NO_COLOR": "1", **(env or {})}
    return template.run(words, environment, seconds=300, also="filters.training")


def maildir(path: Path, categories: tuple[str, ...], each: int) -> Path:
    for name in ("cur", "new", "tmp"):
        (path / name).mkdir(parents=True)
    mails = [mail for category in categories for mail in sorted((CORPUS / category).glob("*.eml"))[:each]]
    for number, mail in enumerate(mails):
        shutil.copy(mail, path / "cur" / f"{1_700_000_000 + number}.M{number}.host:2,S")
    return path


@pytest.fixture(scope="module")
def mail(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    root = tmp_path_factory.mktemp("mail")
    ads, wanted = maildir(root / "ads", ADS, 16), maildir(root / "inbox", WANTED, 11)
    return f"promotional={ads}", f"keep={wanted}"


@pytest.fixture(scope="module")
def trained(mail: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with one model of one's own in it, put to use whatever speaks against it."""
    state = tmp_path_factory.mktemp("state")
    done = unpitch(state, "train", "--label", mail[0], "--label", mail[1], "--from-scratch", "--force")
    assert done.returncode == 0, done.stderr
    assert "Model 0001 is in use now." in done.stdout
    return state


def test_a_trained_model_is_the_one_that_judges(trained: Path, mail: tuple[str, str]) -> None:
    shown = unpitch(trained, "models")
    assert "0001" in shown.stdout
    assert "own mail" in shown.stdout
    inbox = mail[1].partition("=")[2]
    before = json.loads(unpitch(trained, "audit", inbox, "--format", "json").stdout)
    assert unpitch(trained, "models", "--back").stdout == "Model shipped is in use now.\n"
    after = json.loads(unpitch(trained, "audit", inbox, "--format", "json").stdout)
    assert unpitch(trained, "models", "--use", "0001").returncode == 0
    chances = [[one["probability"] for one in run["findings"]] for run in (before, after)]
    assert chances[0] != chances[1]


def test_the_report_is_readable_in_eighty_columns(mail: tuple[str, str], tmp_path: Path) -> None:
    done = unpitch(tmp_path, "train", "--label", mail[0], "--label", mail[1], "--from-scratch", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "76 of 76 messages count: keep 44, promotional 32." in done.stdout
    for words in ("found (recall)", "wanted, called so (FP)", "95 % interval", "in use", "Brier score", "Threshold 0."):
        assert words in done.stdout
    assert "Dry run: no model was kept." in done.stdout
    assert not (tmp_path / "models").exists()


def test_csv_and_json_have_every_message(mail: tuple[str, str], tmp_path: Path) -> None:
    words = ("evaluate", "--label", mail[0], "--label", mail[1], "--format")
    rows = list(csv.DictReader(io.StringIO(unpitch(tmp_path, *words, "csv").stdout)))
    data = json.loads(unpitch(tmp_path, *words, "json").stdout)
    jsonschema.validate(data, json.loads((ROOT / "filters" / "evaluation.schema.json").read_text()))
    assert [row["path"] for row in rows] == [one["path"] for one in data["messages"]]
    assert len(rows) == 76
    called = sum(row["called_positive"] == "True" for row in rows)
    assert called == data["confusion"]["tp"] + data["confusion"]["fp"]
    assert data["confusion"]["fp"] == 0


def test_a_flip_of_labels_closes_the_gate(mail: tuple[str, str], tmp_path: Path) -> None:
    """A tenth of the advertisements in the wrong folder: the model is kept, but not used; exit code 78."""
    ads, wanted = maildir(tmp_path / "ads", ADS, 16), maildir(tmp_path / "inbox", WANTED, 11)
    for path in sorted((ads / "cur").iterdir())[:4]:
        path.rename(wanted / "cur" / f"9{path.name}")
    state = tmp_path / "state"
    done = unpitch(state, "train", "--label", f"promotional={ads}", "--label", f"keep={wanted}", "--from-scratch")
    assert done.returncode == 78
    assert "kept as 0001, but is not in use" in done.stderr
    assert "Labels that contradict everything else, or the model in use; look at them:" in done.stdout
    assert all(f"{path.name.partition(':')[0]}" in done.stdout for path in (wanted / "cur").glob("9*"))
    assert "shipped" in unpitch(state, "models").stdout
    assert json.loads(unpitch(state, "models", "--format", "json").stdout)["models"][0]["in_use"]


def test_other_labels_are_measured_and_written_to_a_file(tmp_path: Path) -> None:
    spam, ham = maildir(tmp_path / "spam", ("partner_inmail",), 24), maildir(tmp_path / "ham", WANTED, 7)
    labels = ("--label", f"spam={spam}", "--label", f"ham={ham}")
    done = unpitch(tmp_path, "train", *labels)
    assert done.returncode == 2
    assert "says nothing of LinkedIn's mail" in done.stderr
    model, once = tmp_path / "model.json", b""
    for seed in ("1", "2"):  # sets come in another order
        done = unpitch(tmp_path, "train", *labels, "--output", str(model), env={"PYTHONHASHSEED": seed})
        assert done.returncode == 0, done.stderr
        once = once or model.read_bytes()
    assert model.read_bytes() == once
    done = unpitch(tmp_path, "evaluate", *labels, "--model", str(model))
    assert done.returncode == 0, done.stderr
    assert "found (recall)" in done.stdout


def test_a_list_of_review_is_taken_with_what_was_taken_back(mail: tuple[str, str], tmp_path: Path) -> None:
    ads = mail[0].partition("=")[2]
    keys = sorted(path.name.partition(":")[0] for path in Path(ads, "cur").iterdir())
    rows = [{"key": key, "label": "promotional"} for key in keys[:5]] + [{"key": keys[1], "label": ""}]
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    done = unpitch(tmp_path, "evaluate", ads, "--labels", str(labels))
    assert done.returncode == 0, done.stderr
    assert "4 of 32 messages count: promotional 4." in done.stdout


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_curves_are_drawn(mail: tuple[str, str], tmp_path: Path) -> None:
    words = ("evaluate", "--label", mail[0], "--label", mail[1], "--curves")
    for name, start in (("a.svg", b"<?xml"), ("a.png", b"\x89PNG")):
        done = unpitch(tmp_path, *words, str(tmp_path / name))
        assert done.returncode == 0, done.stderr
        assert (tmp_path / name).read_bytes().startswith(start)


def test_a_fold_that_is_no_number_is_named(mail: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "folds.csv").write_text("path,fold\nx,1\ny,one\n")
    words = ("train", "--label", mail[0], "--label", mail[1], "--folds", str(tmp_path / "folds.csv"))
    done = unpitch(tmp_path, *words)
    assert (done.returncode, done.stdout) == (65, "")
    assert "folds.csv: a fold is a number, not 'one'." in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("train",), 2, "Which mail is what?"),
        (("train", "--label", "keep"), 2, "NAME=SOURCE"),
        (("train", "--label", "keep=none", "--label", "promotional=none"), 66, "no such path"),
        (("train", "x", "--label", "keep=x"), 2, "go together"),
        (("train", "--label", "keep=x", "--label", "spam=x"), 2, "do not go with"),
        (("train", "--label", "keep=x", "--format", "xml"), 2, "--format is text, json or csv"),
        (("evaluate", "--label", "keep=x", "--curves", "a.pdf"), 2, ".svg or .png"),
        (("evaluate", "--label", "keep=x", "--model", "0007"), 66, "no model 0007"),
        (("evaluate", "x", "--labels", "none.csv"), 66, "cannot be read"),
        (("models", "0007"), 66, "There is no model 0007"),
        (("models", "--use", "../x"), 66, "There is no model"),
        (("models", "--back"), 66, "no other was before it"),
        (("models", "0001", "--back"), 2, "exclude each other"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(tmp_path: Path, words: tuple[str, ...], code: int, said: str) -> None:
    done = unpitch(tmp_path, *words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("ads", "each", "said"), [(3, 5, "promotional has 6; 20 of each label"), (0, 6, "no mail under the label")]
)
def test_too_little_mail(tmp_path: Path, ads: int, each: int, said: str) -> None:
    few, wanted = maildir(tmp_path / "ads", ADS, ads), maildir(tmp_path / "inbox", WANTED, each)
    done = unpitch(tmp_path, "train", "--label", f"promotional={few}", "--label", f"keep={wanted}")
    assert done.returncode == 65
    assert said in done.stderr
    assert "Nothing was trained." in done.stderr


@pytest.mark.parametrize(
    "content", ["", "{", '{"schema": 99}', "[" * 100_000, '{"schema":1,"bias":[NaN]}', "\x80\x02pickle"]
)
def test_a_hostile_model_file_is_refused_and_the_one_in_use_stays(trained: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "model.json"
    path.write_text(content)
    done = unpitch(trained, "evaluate", "--label", f"keep={tmp_path}", "--model", str(path))
    assert done.returncode == 65
    assert "no model file" in done.stderr
    assert json.loads(unpitch(trained, "models", "--format", "json").stdout)["models"][1]["in_use"]
