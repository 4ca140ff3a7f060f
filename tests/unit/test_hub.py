"""Models by name: from folders, from a hub that works, breaks or lies, and from the cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from qwen3_vl.errors import CheckpointError, InputError
from qwen3_vl.hub import HubOptions, _explained, resolve
from tests.support.fake_hub import COMMIT, FakeHub, serving
from tests.support.tiny_models import tiny_model

CHUNK = 10 * 2**20  # what huggingface_hub writes at a time
WEIGHTS = "model-00001-of-00002.safetensors"

# The hub's address is read when huggingface_hub is imported, so each look-up has its own process.
_LOOK_UP = """
import sys
from qwen3_vl.errors import CheckpointError
from qwen3_vl.hub import HubOptions, resolve
name, revision, local = sys.argv[1:]
try:
    print(resolve(name, HubOptions(revision=revision or None, local_files_only=bool(local))))
except CheckpointError as error:
    sys.exit(f"CheckpointError: {error}")
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    tiny_model("dense_tied").save_pretrained(folder, max_shard_bytes=600_000)
    (folder / "README.md").write_text("A tiny model.")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    return folder


@pytest.fixture
def hub(saved) -> Iterator[FakeHub]:
    with serving(saved) as hub:
        yield hub


class Client:
    """Looks models up in fresh processes that share one cache."""

    def __init__(self, hub: FakeHub, home: Path) -> None:
        self.home = home
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        self.environment = inherited | {
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }

    def run(self, program: str, *arguments: str, **environment: str) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, *arguments],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip(), done.stderr

    def find(self, name: str = "acme/tiny", revision: str = "", **environment: str) -> Path:
        folder, complaint = self.run(_LOOK_UP, name, revision, "", **environment)
        assert folder, complaint
        return Path(folder)

    def refusal(self, name: str = "acme/tiny", revision: str = "", local: str = "") -> str:
        folder, complaint = self.run(_LOOK_UP, name, revision, local)
        assert not folder
        return complaint


@pytest.fixture
def client(hub, tmp_path) -> Client:
    return Client(hub, tmp_path)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_is_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert resolve(tmp_path / "model") == tmp_path / "model"
    assert resolve("~/model") == tmp_path / "model"


@pytest.mark.parametrize(
    "name",
    ["no-such-folder", "/no/such/folder", "./model", "../x/y", "a/b/c", "~nobody-at-all/model"],
)
def test_a_folder_that_does_not_exist_is_told_without_asking_the_hub(name):
    with pytest.raises(CheckpointError, match=r"no folder .* no hub id either; a hub id looks"):
        resolve(name, HubOptions(local_files_only=True))


def test_an_empty_name_is_no_folder():
    with pytest.raises(CheckpointError, match="the model's name is empty; give a folder, or a hub"):
        resolve("")


@pytest.mark.parametrize("name", [None, 5])
def test_what_is_no_name_is_told(name):
    with pytest.raises(InputError, match=f"by its folder or its hub id, not by {name}"):
        resolve(name)


def test_of_a_long_foreign_error_the_first_line_is_told():
    told = r"^the download of acme/tiny failed: no route; run again, complete files are kept$"
    with pytest.raises(CheckpointError, match=told), _explained("acme/tiny", HubOptions()):
        raise OSError("no route\n\nread the manual")


def test_a_name_that_the_hub_could_not_have_is_told():
    with pytest.raises(CheckpointError, match="no folder 'acme/a--b', and it is no hub id: "):
        resolve("acme/a--b", HubOptions(local_files_only=True))


def test_a_model_is_downloaded_by_its_id_and_runs(client):
    program = (
        "import torch\n"
        "from qwen3_vl import Qwen3VLForConditionalGeneration as Model\n"
        "model = Model.from_pretrained('acme/tiny')\n"
        "print(model.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=4).tolist())"
    )
    expected = tiny_model("dense_tied").generate(torch.tensor([[1, 2, 3]]), max_new_tokens=4)
    tokens, complaint = client.run(program)
    assert tokens == str(expected.tolist()), complaint


def test_only_what_a_model_needs_is_downloaded(client, saved):
    expected = contents(saved)
    del expected["README.md"], expected["pytorch_model.bin"]
    assert contents(client.find()) == expected


def test_weights_are_left_out_on_request_and_fetched_when_they_are_wanted(client, hub, saved):
    program = "from qwen3_vl.hub import resolve\nprint(resolve('acme/tiny', weights=False))"
    folder, complaint = client.run(program)
    assert folder, complaint
    assert {path.suffix for path in Path(folder).iterdir()} == {".json"}
    assert hub.fetched(WEIGHTS) == []
    assert contents(client.find())[WEIGHTS] == (saved / WEIGHTS).read_bytes()


def test_a_second_look_downloads_nothing(client, hub):
    first = client.find()
    hub.requests.clear()
    assert client.find() == first
    assert not any("/resolve/" in path for _, path, _ in hub.requests)
    hub.requests.clear()
    assert client.find(revision=COMMIT) == first
    assert hub.requests == []


def test_a_broken_transfer_goes_on_where_it_broke_off(saved, tmp_path):
    whole = b"".join(number.to_bytes(4, "big") for number in range(3 * CHUNK // 8))
    shutil.copytree(saved, tmp_path / "large")
    (tmp_path / "large" / "large.safetensors").write_bytes(whole)
    with serving(tmp_path / "large") as hub:
        hub.breaks["large.safetensors"] = CHUNK + 1000
        folder = Client(hub, tmp_path).find()
    assert (folder / "large.safetensors").read_bytes() == whole
    assert hub.fetched("large.safetensors") == [None, f"bytes={CHUNK}-"]


def test_files_of_a_failed_download_are_kept_and_checked_by_the_next(client, hub, saved):
    config, other = "config.json", "model-00002-of-00002.safetensors"
    hub.down.add(other)
    complaint = client.refusal()
    assert "CheckpointError: the download of acme/tiny failed" in complaint
    assert "run again, complete files are kept" in complaint
    hub.down.clear()
    assert contents(client.find())[other] == (saved / other).read_bytes()
    assert len(hub.fetched(WEIGHTS)) == len(hub.fetched(config)) == 1


def wrong(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def test_a_wrong_checksum_is_refused_and_the_file_removed(client, hub, saved):
    hub.sent[WEIGHTS] = wrong((saved / WEIGHTS).read_bytes())
    complaint = client.refusal()
    assert f"CheckpointError: {WEIGHTS} of acme/tiny does not have the hub's checksum" in complaint
    assert not list(client.home.rglob(WEIGHTS))
    hub.sent.clear()
    assert contents(client.find())[WEIGHTS] == (saved / WEIGHTS).read_bytes()


def test_a_wrong_file_of_a_failed_download_is_found_by_the_next(client, hub, saved):
    hub.sent[WEIGHTS] = wrong((saved / WEIGHTS).read_bytes())
    hub.down.add("model-00002-of-00002.safetensors")
    client.refusal()
    assert list(client.home.rglob(WEIGHTS))
    hub.down.clear()
    assert "does not have the hub's checksum" in client.refusal()


def test_an_unknown_model_is_told(client):
    complaint = client.refusal("acme/huge")
    assert "CheckpointError: there is no folder 'acme/huge', and the hub has no such" in complaint


def test_an_unknown_revision_is_told(client):
    complaint = client.refusal(revision="v9")
    assert "CheckpointError: acme/tiny has no revision 'v9' on the hub" in complaint


@pytest.mark.parametrize("way", ["local_files_only", "HF_HUB_OFFLINE", "no connection"])
def test_without_the_hub_the_cache_answers(client, hub, way):
    downloaded = client.find()
    hub.requests.clear()
    if way == "local_files_only":
        found, complaint = client.run(_LOOK_UP, "acme/tiny", "", "local")
        assert found == str(downloaded), complaint
    elif way == "HF_HUB_OFFLINE":
        assert client.find(HF_HUB_OFFLINE="1") == downloaded
    else:
        assert client.find(HF_ENDPOINT="http://127.0.0.1:9") == downloaded
    assert hub.requests == []


def test_without_the_hub_and_the_cache_the_way_out_is_told(client, hub):
    complaint = client.refusal(local="local")
    assert "CheckpointError: acme/tiny is not in the local cache" in complaint
    assert "connect once to download it, or give the folder of a local copy" in complaint
    assert hub.requests == []
