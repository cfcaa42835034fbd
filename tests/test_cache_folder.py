"""Where the cache goes: the user's choice, the system's folder, or, for a user without a home, a folder of their own."""

from __future__ import annotations

import functools
import json
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from chainrule.data import CacheWarning, cache_folder, load, mnist
from chainrule.data import cache as caching
from chainrule.errors import DataError
from chainrule.kernels import machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="user ids of POSIX")


@pytest.fixture(autouse=True, scope="module")
def unpacked_once() -> Iterator[None]:
    """MNIST's pack, which takes most of a second to decompress, is decompressed once in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lzma, "decompress", functools.cache(lzma.decompress))
        yield


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An unknown user id without HOME, as in many containers; and the folder for temporary files."""
    pwd = pytest.importorskip("pwd")

    def unknown(uid: object) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "CHAINRULE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def python(*arguments: str, env: dict[str, str], cwd: Path | None = None) -> str:
    """What a process of its own prints, which must end well and have nothing to complain of."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@posix
@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_without_a_home_it_is_a_folder_of_the_users_own(no_home: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        folder = cache_folder()
    finally:
        os.umask(before)
    assert folder == no_home / f"chainrule-{os.geteuid()}"
    assert mode(folder) == 0o700
    assert cache_folder() == folder  # also when it is there already


@posix
def test_without_a_home_everything_is_kept_there(no_home: Path, tmp_path: Path) -> None:
    assert len(mnist().train_images) == 60_000
    place = Path(machine._folder.__wrapped__() or "")
    own = no_home / f"chainrule-{os.geteuid()}"
    assert place.parent == own
    assert (own / "mnist" / "verified.json").exists()


USER_WITH_A_HOME = """
import os, platformdirs, tempfile
from chainrule.files import cache_folder
platformdirs.user_cache_dir()  # imports what it needs: another user may not be allowed to
if os.geteuid() == 0:
    os.setuid(54321)  # root may write anywhere
try:
    folder = cache_folder()
except OSError as error:
    folder = error
print(folder == folder.parent / f"chainrule-{os.geteuid()}", folder)
"""


@posix
@pytest.mark.parametrize("home", ["writable", "not writable", "not to be entered", "a file", "missing"])
@pytest.mark.parametrize("cached", [False, True], ids=["nothing cached", "something cached"])
def test_a_home_that_cannot_be_written(home: str, cached: bool) -> None:
    """Is as good as none, unless what is wanted is there already: a container's image, say, that is read only."""
    with tempfile.TemporaryDirectory() as name:  # which all users may enter, other than pytest's
        place = Path(name)
        (place / "tmp").mkdir()
        (place / "tmp").chmod(0o777)
        own = place / "home"
        usual = own / ".cache" / "chainrule"
        if home == "a file":
            own.write_text("")
        elif home != "missing":
            (usual if cached else own).mkdir(parents=True)
            own.chmod({"writable": 0o777, "not writable": 0o555, "not to be entered": 0}[home])
        place.chmod(0o555)
        env = {key: value for key, value in os.environ.items() if key not in ("XDG_CACHE_HOME", "CHAINRULE_CACHE")}
        printed = python("-c", USER_WITH_A_HOME, env={**env, "HOME": str(own), "TMPDIR": str(place / "tmp")})
        temporary = next((place / "tmp").glob("chainrule-*"), None)
        if home == "writable" or (home == "not writable" and cached):
            assert (printed, temporary) == (f"False {usual}\n", None)
        else:
            assert temporary
            assert printed == f"True {temporary}\n"
            assert mode(temporary) == 0o700
        place.chmod(0o700)  # so that all of it can be removed
        if own.is_dir():
            own.chmod(0o700)


def link(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    path.symlink_to(tmp_path / "elsewhere")


def open_to_the_group(path: Path, tmp_path: Path) -> None:
    path.mkdir()
    path.chmod(0o770)


def file(path: Path, tmp_path: Path) -> None:
    path.write_text("")


def of_another_user(path: Path, tmp_path: Path) -> None:
    path.mkdir(mode=0o700)
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(path, 54321, 54321)


@posix
@pytest.mark.parametrize("plant", [link, open_to_the_group, file, of_another_user])
def test_a_folder_that_somebody_else_may_write_to_is_not_used(
    no_home: Path, plant: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    """Anybody can make a folder of that name in the one for temporary files, before we do."""
    plant(no_home / f"chainrule-{os.geteuid()}", tmp_path)
    with pytest.raises(OSError, match="not a private folder of this user"):
        cache_folder()
    assert machine._folder.__wrapped__() is None
    assert not caching.is_ready("mnist", {"a": "b"})
    assert caching.size("mnist") == 0
    with pytest.warns(
        CacheWarning, match="mnist is kept in memory for this run only, because .* private folder of this user"
    ):
        assert len(mnist().test_labels) == 10_000


@pytest.mark.parametrize("answer", ["~/.cache/chainrule", "relative/chainrule"])
def test_older_versions_of_platformdirs_return_the_tilde(
    no_home: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name, appauthor: answer)
    assert cache_folder().parent == no_home


def test_a_home_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", "~nobody-of-this-name/cache")
    with pytest.raises(OSError, match="CHAINRULE_CACHE names a home that does not exist: ~nobody-of-this-name/cache"):
        cache_folder()
    with pytest.warns(CacheWarning, match="mnist is kept in memory .*CHAINRULE_CACHE names a home"):
        mnist()
    with pytest.raises(DataError, match="^~nobody-of-this-name/data: there is no home folder of that name$"):
        load("~nobody-of-this-name/data")


USER_WITHOUT_HOME = """
import pwd, sys, tempfile
def unknown(uid): raise KeyError(uid)
pwd.getpwuid = unknown
tempfile.tempdir = sys.argv.pop(1)
from chainrule.cli import main
main(sys.argv[1:])
"""


@posix
def test_the_command_works_without_a_home(tmp_path: Path) -> None:
    """From end to end, in a process of its own: it trains, reads, and keeps machine code for the next time."""
    env = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME", "CHAINRULE_CACHE")}
    env |= {"MPLCONFIGDIR": str(tmp_path)}  # matplotlib says on its own that it has no home

    def command(*arguments: str) -> str:
        return python("-c", USER_WITHOUT_HOME, str(tmp_path), *arguments, env=env, cwd=tmp_path)

    trained = json.loads(command("train", "--limit", "300", "--epochs", "1", "--out", "run", "--json"))
    assert trained["test_accuracy"] > 0.2
    own = tmp_path / f"chainrule-{os.geteuid()}"
    assert f"cache: {own}" in command("data")
    assert mode(own) == 0o700
    assert json.loads(command("evaluate", "run", "--json"))["accuracy"] == trained["test_accuracy"]


COMPUTE = """
import numpy as np
import chainrule as cr
x = cr.tensor(np.linspace(-3, 3, 40_000, dtype=np.float32))
print(repr(float(x.exp().sum())))
"""


def compute(cache: Path) -> str:
    """What it prints, with machine code in a cache."""
    return python("-c", COMPUTE, env={**os.environ, "CHAINRULE_CACHE": str(cache)})


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What is printed with an empty cache, and the cache afterwards. Do not modify it."""
    cache = tmp_path_factory.mktemp("computed") / "cache"
    printed = compute(cache)
    np.testing.assert_allclose(float(printed), np.exp(np.linspace(-3, 3, 40_000)).sum(), rtol=1e-6)
    return printed, cache


@posix
@pytest.mark.parametrize("plant", ["folder", "pipe", "link", "garbage", "nothing"])
def test_what_stands_in_the_place_of_machine_code_is_not_run_and_not_waited_for(
    tmp_path: Path, computed: tuple[str, Path], plant: str
) -> None:
    expected, cache = computed
    shutil.copytree(cache, tmp_path / "cache")
    files = list((tmp_path / "cache" / "kernels").glob("*.code"))
    assert files
    for file in files:
        content = file.read_bytes()
        file.unlink()
        if plant == "folder":
            file.mkdir()
        elif plant == "pipe":
            os.mkfifo(file)
        elif plant == "link":
            file.with_suffix(".moved").write_bytes(content)
            file.symlink_to(file.with_suffix(".moved"))
        elif plant == "garbage":
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert compute(tmp_path / "cache") == expected


@pytest.fixture
def filled(tmp_path: Path, computed: tuple[str, Path]) -> list[Path]:
    """The files of machine code in a cache of the test's own."""
    files = sorted((shutil.copytree(computed[1], tmp_path / "filled") / "kernels").glob("*.code"))
    assert len(files) > 1
    return files


@posix
@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_machine_code_is_the_users_own_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        compute(tmp_path / "cache")
    finally:
        os.umask(before)
    files = list((tmp_path / "cache" / "kernels").glob("*.code"))
    assert files
    assert mode(tmp_path / "cache") == mode(tmp_path / "cache" / "kernels") == 0o700
    assert {mode(file) for file in files} == {0o600}


@posix
@pytest.mark.parametrize("fault", ["folder for all", "folder of another", "files for all", "files of another"])
def test_machine_code_that_others_could_have_written_is_not_run(
    filled: list[Path], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Nor is anything written to a folder to which others can write."""
    if fault.endswith("of another") and os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    files, folder = filled, filled[0].parent
    keys = [file.read_bytes()[32:].split(b"\0", 1)[0] for file in files]
    monkeypatch.setenv("CHAINRULE_CACHE", str(folder.parent))
    monkeypatch.setattr(machine, "_folder", machine._folder.__wrapped__)
    assert all(machine._read(file.stem, key) is not None for file, key in zip(files, keys, strict=True))
    for path in [folder] if fault.startswith("folder") else files:
        if fault.endswith("of another"):
            os.chown(path, 54321, 54321)
        else:
            path.chmod(0o777)
    assert all(machine._read(file.stem, key) is None for file, key in zip(files, keys, strict=True))
    if fault.startswith("folder"):
        machine._write("0" * 40, b"key", "name", b"code")
        assert sorted(folder.glob("*.code")) == files


def test_machine_code_under_another_name_is_not_run(filled: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file has a right sum: its key under the sum tells that it is another's."""
    files = filled
    monkeypatch.setenv("CHAINRULE_CACHE", str(files[0].parent.parent))
    monkeypatch.setattr(machine, "_folder", machine._folder.__wrapped__)
    keys = [file.read_bytes()[32:].split(b"\0", 1)[0] for file in files]
    assert all(machine._read(file.stem, key) is not None for file, key in zip(files, keys, strict=True))
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, contents[1:] + contents[:1], strict=True):
        file.write_bytes(content)
    assert all(machine._read(file.stem, key) is None for file, key in zip(files, keys, strict=True))


def test_what_was_not_used_longest_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "FOLDER_BYTES", 2_500)
    for number in range(4):
        (tmp_path / f"{number}.code").write_bytes(bytes(1_000))
        os.utime(tmp_path / f"{number}.code", (0, 1_000 * (4 - number)))  # the last one is the oldest
    machine._make_room(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.code", "1.code"]
