"""Where a speech model lies and how it comes here, from a hub on this machine that breaks in every way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.errors import ModelUnavailable
from agent.settings import Settings, TranscribeSettings
from agent.transcribe.engines.whisper import WhisperEngine
from agent.transcribe.models import hub as hub_module
from agent.transcribe.models.catalogue import KNOWN, needed
from agent.transcribe.models.checking import ModelCheck, check_models
from agent.transcribe.models.fetching import TINY_DEMO, Progress, fetch_model, find_model, kind_of, models_on_disk
from agent.transcribe.models.manifest import MANIFEST
from tests.unit.hub_lab import Hub, running

SMALL = KNOWN["small"].repository
GIGAAM = KNOWN["gigaam-v3-ctc"].repository
BUILT_IN = find_model(TINY_DEMO, data_dir=Path("/nonexistent"))
WHISPER = {
    path.name: path.read_bytes()
    for path in BUILT_IN.iterdir()
    if path.suffix in {".bin", ".json"} and path.name != "cardline.json"
}
SIZE = len(WHISPER["model.bin"])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Has the demo's model under the name of a size."""
    monkeypatch.setattr(hub_module, "sleep", lambda seconds: None)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with running(Hub(files={SMALL: {**WHISPER, "README.md": b"# words"}})) as one:
        monkeypatch.setenv("HF_ENDPOINT", one.address)
        yield one


def flip(path: Path) -> None:
    """Change one bit in the middle; size and times stay as they were."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


# --- names -----------------------------------------------------------------------------------------------------------


def test_sizes_are_those_of_faster_whisper_and_the_others_those_of_onnx_asr() -> None:
    from faster_whisper.utils import _MODELS
    from onnx_asr.resolver import model_repos

    sizes = {name: one.repository for name, one in KNOWN.items() if one.kind == "whisper"}
    assert sizes == _MODELS
    others = {name: one.repository for name, one in KNOWN.items() if one.kind == "onnx"}
    assert others.pop("t-one") == "t-tech/T-one"
    assert others.items() <= model_repos.items()


REPOSITORY = ["config.json", "README.md", "v3_ctc.onnx", "v3_ctc.int8.onnx", "v3_vocab.txt"] + [
    f"v3_{name}{suffix}.onnx"
    for name in ("e2e_ctc", "rnnt_encoder", "rnnt_decoder", "rnnt_joint")
    for suffix in ("", ".int8")
]


@pytest.mark.parametrize(
    ("name", "full_precision", "files"),
    [
        ("gigaam-v3-ctc", False, {"config.json", "v3_ctc.int8.onnx", "v3_vocab.txt"}),
        ("gigaam-v3-ctc", True, {"config.json", "v3_ctc.onnx", "v3_vocab.txt"}),
        (
            "gigaam-v3-rnnt",
            False,
            {"config.json", "v3_vocab.txt"} | {f"v3_rnnt_{n}.int8.onnx" for n in ("encoder", "decoder", "joint")},
        ),
    ],
)
def test_of_a_repository_with_many_models_one_is_taken(name: str, full_precision: bool, files: set[str]) -> None:
    assert set(needed(name, REPOSITORY, full_precision=full_precision)) == files


@pytest.mark.parametrize(
    ("paths", "files"),
    [
        (["model.onnx", "config.json", "x.md"], {"model.onnx", "config.json"}),  # T-one: there is no int8
        (["encoder.onnx", "encoder.int8.onnx", "joint.onnx"], {"encoder.onnx", "joint.onnx"}),  # int8 in part only
        (["m.onnx", "m.onnx.data", "m.int8.onnx", "vocab.txt"], {"m.int8.onnx", "vocab.txt"}),
        (["m.onnx", "m.onnx_data", "m.fp16.onnx", "m_q4.onnx"], {"m.onnx", "m.onnx_data"}),
        (["model.bin", "config.json", "tokenizer.json", "a.onnx"], {"model.bin", "config.json", "tokenizer.json"}),
        (["weights.safetensors", "config.json"], set()),
        (["../model.bin", "sub/model.onnx"], set()),
    ],
)
def test_what_a_repository_without_a_short_name_consists_of(paths: list[str], files: set[str]) -> None:
    assert set(needed("somebody/something", paths, full_precision=False)) == files


# --- on this machine -------------------------------------------------------------------------------------------------


def check(model: str, data_dir: Path, **more: object) -> list[ModelCheck]:
    chosen = TranscribeSettings.model_validate({"model": model, **more})
    return check_models(Settings(data_dir=data_dir, transcribe=chosen))


def test_the_demo_model_is_built_in(tmp_path: Path) -> None:
    (found,) = check(TINY_DEMO, tmp_path)
    assert found.ok, found
    assert "only the words of the demo" in found.what


def test_each_model_of_the_settings_is_looked_at(tmp_path: Path) -> None:
    first, second = check(TINY_DEMO, tmp_path, models={"ru": "gigaam-v3-ctc"})
    assert first.ok
    assert not second.ok
    assert "gigaam-v3-ctc is not on this machine" in second.what
    (only,) = check("small", tmp_path, models={"ru": TINY_DEMO}, languages=["ru"])
    assert only.ok, "a model that is never asked is not missed"


def test_a_directory_that_is_not_there_is_named_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"transcribe\.model") as caught:
        find_model(str(tmp_path / "gone" / "model"), data_dir=tmp_path)
    assert "model directory" in caught.value.remedy
    assert not check(str(tmp_path / "gone" / "model"), tmp_path)[0].ok


def test_a_directory_that_is_not_whole_names_the_missing_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json missing"):
        find_model(str(tmp_path), data_dir=tmp_path)


@pytest.mark.parametrize("spoiled", ["model.bin", "tokenizer.json", "config.json", "vocabulary.json"])
def test_a_broken_model_is_unavailable_not_a_crash(tmp_path: Path, spoiled: str) -> None:
    for name, content in WHISPER.items():
        (tmp_path / name).write_bytes(content[: 100 if name == spoiled else None])
    (found,) = check(str(tmp_path), tmp_path)
    assert not found.ok
    assert "cannot be loaded" in found.what
    assert found.remedy


def test_broken_habits_are_named(tmp_path: Path) -> None:
    (tmp_path / "cardline.json").write_text("{")
    with pytest.raises(ModelUnavailable, match=r"cardline\.json"):
        WhisperEngine(tmp_path, name="x")


def test_a_size_put_there_by_hand_is_found(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "small").symlink_to(BUILT_IN)
    assert fetch_model("small", data_dir=tmp_path) == tmp_path / "models" / "small"
    assert models_on_disk(tmp_path) == [TINY_DEMO, "small"]
    assert kind_of(tmp_path / "models" / "small") == "whisper"


def test_the_layout_of_the_hubs_own_client_is_understood(tmp_path: Path) -> None:
    cache = tmp_path / "models" / f"models--{SMALL.replace('/', '--')}"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("abc")
    (cache / "snapshots").mkdir()
    (cache / "snapshots" / "abc").symlink_to(BUILT_IN)
    assert find_model("small", data_dir=tmp_path) == cache / "snapshots" / "abc"


# --- from the hub ----------------------------------------------------------------------------------------------------


def test_a_size_is_fetched_once_with_its_progress_and_hears(hub: Hub, tmp_path: Path) -> None:
    told: list[Progress] = []
    directory = fetch_model("small", data_dir=tmp_path, tell=told.append)
    assert {path.name for path in directory.iterdir()} == {*WHISPER, MANIFEST}
    assert all((directory / name).read_bytes() == content for name, content in WHISPER.items())
    done = [one.done for one in told]
    assert done == sorted(done)
    assert {one.total for one in told} == {sum(map(len, WHISPER.values()))} == {done[-1]}
    WhisperEngine(directory, name="small", threads=1).load()
    asked = len(hub.asked)
    assert fetch_model("small", data_dir=tmp_path) == directory
    assert len(hub.asked) == asked
    manifest = json.loads((directory / MANIFEST).read_text())
    assert manifest["complete"]
    assert all(len(entry["sha256"]) == 64 for entry in manifest["files"].values())


def test_a_line_that_breaks_again_and_again_costs_no_byte_twice(hub: Hub, tmp_path: Path) -> None:
    hub.cut_after = [SIZE // 10] * 8
    directory = fetch_model("small", data_dir=tmp_path)
    assert (directory / "model.bin").read_bytes() == WHISPER["model.bin"]
    sent = hub.sent("model.bin")
    assert len(sent) == 9
    assert [first for first, _ in sent] == [SIZE // 10 * n for n in range(9)]


def test_what_was_fetched_before_it_was_given_up_is_kept(hub: Hub, tmp_path: Path) -> None:
    hub.cut_after = [SIZE // 2] + [0] * 20
    with pytest.raises(ModelUnavailable, match=r"model\.bin .* cannot be fetched") as caught:
        fetch_model("small", data_dir=tmp_path)
    assert str(tmp_path / "models" / "small") in caught.value.remedy
    with pytest.raises(ModelUnavailable, match="in part only"):
        find_model("small", data_dir=tmp_path)
    hub.cut_after = []
    fetch_model("small", data_dir=tmp_path)
    assert hub.sent("model.bin")[-1] == (SIZE // 2, SIZE - SIZE // 2)
    assert not list((tmp_path / "models" / "small").glob("*.part"))


CODE = (
    "import sys; from pathlib import Path; from agent.errors import ModelUnavailable\n"
    "from agent.transcribe.models.fetching import fetch_model\n"
    "try: print(fetch_model('small', data_dir=Path(sys.argv[1])))\n"
    "except ModelUnavailable as error: print(error)\n"
)


def test_a_killed_process_has_fetched_its_half_for_the_next(hub: Hub, tmp_path: Path) -> None:
    hub.stall = threading.Event()
    with subprocess.Popen([sys.executable, "-c", CODE, str(tmp_path)], stdout=subprocess.DEVNULL) as process:
        assert hub.stall.wait(60)
        parts = tmp_path / "models" / "small"
        while not any(part.stat().st_size > SIZE // 4 for part in parts.glob("model.bin.*.part")):
            assert process.poll() is None
            threading.Event().wait(0.01)
        process.send_signal(signal.SIGKILL)
    directory = fetch_model("small", data_dir=tmp_path)
    assert (directory / "model.bin").read_bytes() == WHISPER["model.bin"]
    assert hub.sent("model.bin")[-1][0] > SIZE // 4


def test_a_hub_that_cannot_go_on_in_the_middle_begins_anew(hub: Hub, tmp_path: Path) -> None:
    hub.knows_ranges = False
    hub.cut_after = [SIZE // 2]
    directory = fetch_model("small", data_dir=tmp_path)
    assert (directory / "model.bin").read_bytes() == WHISPER["model.bin"]


def test_large_files_on_another_host_are_gone_on_with_and_get_no_token(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_secret")
    hub.elsewhere, hub.cut_after = True, [SIZE // 3]
    fetch_model("small", data_dir=tmp_path)
    assert [first for first, _ in hub.sent("model.bin")] == [0, SIZE // 3]
    assert {token for host, token in hub.tokens if host.startswith("127.")} == {"Bearer hf_secret"}
    assert {token for host, token in hub.tokens if host.startswith("localhost")} == {""}


def test_wrong_bytes_are_fetched_again_and_never_used(hub: Hub, tmp_path: Path) -> None:
    hub.wrong = 1
    directory = fetch_model("small", data_dir=tmp_path)
    assert (directory / "model.bin").read_bytes() == WHISPER["model.bin"]
    shutil.rmtree(directory)
    hub.wrong = 99
    with pytest.raises(ModelUnavailable, match="twice with a wrong checksum"):
        fetch_model("small", data_dir=tmp_path)
    assert not (directory / "model.bin").exists()
    assert not list(directory.glob("*.part"))


def test_a_file_that_changed_on_the_disk_is_named_and_fetched_anew(hub: Hub, tmp_path: Path) -> None:
    directory = fetch_model("small", data_dir=tmp_path)
    hub.asked.clear()
    flip(directory / "model.bin")
    with pytest.raises(ModelUnavailable, match=r"model\.bin: its checksum is wrong"):
        find_model("small", data_dir=tmp_path, thorough=True)
    fetch_model("small", data_dir=tmp_path)
    assert {name for name, _, _ in hub.asked} == {"model.bin"}
    assert (directory / "model.bin").read_bytes() == WHISPER["model.bin"]


@pytest.mark.parametrize("name", sorted(WHISPER))
def test_a_file_that_was_cut_off_or_removed_is_seen_at_once(hub: Hub, tmp_path: Path, name: str) -> None:
    directory = fetch_model("small", data_dir=tmp_path)
    os.truncate(directory / name, 10)
    with pytest.raises(ModelUnavailable, match=rf"{name}: it has 10 bytes instead of"):
        find_model("small", data_dir=tmp_path)
    (directory / name).unlink()
    with pytest.raises(ModelUnavailable, match=f"{name}: it is missing"):
        find_model("small", data_dir=tmp_path)
    fetch_model("small", data_dir=tmp_path)
    assert (directory / name).read_bytes() == WHISPER[name]


def test_without_the_hub_a_broken_file_is_named_with_the_place_it_belongs_to(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = fetch_model("small", data_dir=tmp_path)
    flip(directory / "model.bin")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = len(hub.asked)
    with pytest.raises(ModelUnavailable, match=r"model\.bin: its checksum is wrong.*HF_HUB_OFFLINE") as caught:
        fetch_model("small", data_dir=tmp_path)
    assert f"copy the files of {SMALL} into {directory}" in caught.value.remedy
    assert len(hub.asked) == asked


def test_offline_by_wish_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelUnavailable, match="HF_HUB_OFFLINE forbids"):
        fetch_model("small", data_dir=tmp_path)


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_a_hub_that_gives_no_list_is_quoted(hub: Hub, tmp_path: Path, status: int) -> None:
    hub.listing_status = status
    with pytest.raises(ModelUnavailable, match=f"no list of {SMALL}.*{status}") as caught:
        fetch_model("small", data_dir=tmp_path)
    assert "cardline model fetch" in caught.value.remedy


def test_a_repository_that_is_not_there_or_holds_none(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="no list of nobody/nothing"):
        fetch_model("nobody/nothing", data_dir=tmp_path)
    hub.files = {"somebody/pictures": {"cat.png": b"x"}}
    with pytest.raises(ModelUnavailable, match="holds no speech model"):
        fetch_model("somebody/pictures", data_dir=tmp_path)


def test_a_file_that_is_refused_is_not_asked_for_ever(hub: Hub, tmp_path: Path) -> None:
    hub.statuses = [503, 429, 500]
    fetch_model("small", data_dir=tmp_path)  # trouble that passes
    shutil.rmtree(tmp_path / "models")
    hub.statuses = [403]
    with pytest.raises(ModelUnavailable, match="it answers 403"):
        fetch_model("small", data_dir=tmp_path)


def test_a_disk_without_room_is_said_before_anything_is_fetched(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.transcribe.models.fetching.shutil.disk_usage", lambda path: SimpleNamespace(free=10**8))
    with pytest.raises(ModelUnavailable, match=r"has 0\.1 GB free, and the speech model needs 0\.3 GB"):
        fetch_model("small", data_dir=tmp_path)
    assert hub.asked == []


def test_a_disk_that_fills_up_in_the_middle_is_said_too(hub: Hub, tmp_path: Path) -> None:
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({SIZE // 2}, {SIZE // 2}))\n"
    done = subprocess.run(
        [sys.executable, "-c", limit + CODE, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert "It cannot be written: [Errno 27] File too large" in done.stdout
    fetch_model("small", data_dir=tmp_path)
    assert hub.sent("model.bin")[-1][0] == SIZE // 2, "the half that fitted was kept"


def test_two_who_want_the_same_model_fetch_it_once(hub: Hub, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: fetch_model("small", data_dir=tmp_path), range(4)))
    assert found == {tmp_path / "models" / "small"}
    assert len(hub.sent("model.bin")) == 1


def test_what_somebody_put_there_himself_is_not_overwritten(hub: Hub, tmp_path: Path) -> None:
    directory = tmp_path / "models" / "small"
    directory.mkdir(parents=True)
    (directory / "model.bin").write_bytes(b"mine")
    with pytest.raises(ModelUnavailable, match="not whole"):
        fetch_model("small", data_dir=tmp_path)
    assert (directory / "model.bin").read_bytes() == b"mine"


def test_of_an_onnx_repository_only_the_smaller_files_come_for_a_cpu(hub: Hub, tmp_path: Path) -> None:
    content = {name: name.encode() * 2000 for name in REPOSITORY}
    hub.files = {GIGAAM: content}
    directory = fetch_model("gigaam-v3-ctc", data_dir=tmp_path)
    assert {path.name for path in directory.iterdir()} == {MANIFEST, "config.json", "v3_ctc.int8.onnx", "v3_vocab.txt"}
    assert kind_of(directory) == "onnx"
    assert "gigaam-v3-ctc" in models_on_disk(tmp_path)


def test_nothing_lands_in_a_home_whatever_was_loaded_before(hub: Hub, tmp_path: Path) -> None:
    """The hub's client comes with faster-whisper, and reads its environment once."""
    code = (
        "from agent.transcribe.engines.whisper import WhisperEngine\n"
        "from agent.transcribe.models.fetching import find_model\n"
        "WhisperEngine(find_model('tiny-demo', data_dir=Path(sys.argv[1])), name='x', threads=1).load()\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "HF_ENDPOINT": hub.address, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; from pathlib import Path\n{code}{CODE}", str(tmp_path / "data")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == str(tmp_path / "data" / "models" / "small")
    assert list(home.iterdir()) == []
    assert hub.strange == []


def test_without_internet_a_size_is_unavailable_and_nothing_lands_in_a_home(tmp_path: Path) -> None:
    """In a process of its own, with a home of its own. Port 9 of this machine refuses."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "data")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert "The speech model small is not on this machine: The hub gives no list" in done.stdout
    assert str(tmp_path / "data" / "models" / "small") in done.stdout
    assert "Traceback" not in done.stderr
    assert list(home.iterdir()) == []
