"""Processes and threads: forked children work, workers end with their parent, weights are loaded once."""

import io
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import codec.plugin  # noqa: F401
from codec import Codec, container, engine, loaded
from codec.runs import process
from tests.conftest import ROOT, lat

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
posix = pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")

FORKED = """
import io, multiprocessing, os, sys
import numpy as np
from PIL import Image
import codec.plugin
from codec import Codec

engine = sys.argv[1]
codec = Codec.load(engine=engine)
if engine == "torch":
    import torch
    torch.set_num_threads(2)
pixels = np.random.default_rng(0).integers(0, 255, (96, 64, 3), dtype=np.uint8)
data = codec.encode(pixels)
with Image.open(io.BytesIO(data)) as image:
    expected = image.tobytes()

def work(_):
    global codec
    with Image.open(io.BytesIO(data)) as image:
        same = image.tobytes() == expected
    again = codec.encode(np.tile(pixels, (4, 4, 1)))
    codec = Codec.load(engine=engine)  # and the old one goes
    return same, again == codec.encode(np.tile(pixels, (4, 4, 1)))

with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.map_async(work, [0]).get(timeout=120), os.environ["OMP_WAIT_POLICY"], flush=True)
"""


@forks
@pytest.mark.parametrize("name", engine.installed())
def test_a_forked_child_works_after_its_parent_did(name):
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-W", "ignore", "-c", FORKED, name]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout == "[(True, True)] PASSIVE\n", done.stderr


def lines_until_all_end(command: list, ready: int, signal_: int) -> tuple[int, bytes]:
    """(exit code, output) of a process that is signalled once it and its children wrote `ready` lines.

    The pipe ends when the last of them does.
    """
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for _ in range(ready):
        child.stdout.readline()
    child.send_signal(signal_)
    return child.wait(60), child.communicate(timeout=60)[0]


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGHUP"])
@pytest.mark.parametrize("kind", ["batch", "bulk"])
def test_workers_end_with_their_parent_however_it_ends(tmp_path, name, kind):
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        """
import time
from codec.runs import job, plan, process
from codec.bulk import pools, worker
from codec.runs import batch

class Waiting:
    def run(self, work):
        print("begun", flush=True)
        time.sleep(600)

def wait(job, options, progress):
    Waiting().run(job)

if __name__ == "__main__":
    process.end_when_told()
    if sys.argv[1] == "batch":
        list(batch.run(wait, [plan.Job("a", ""), plan.Job("b", "")], job.Options(), 2))
    else:
        pool = pools.LocalPool(Waiting, 2)
        pool.ready([pool.submit(i, worker.Batch("x", ())) for i in range(2)])
"""
    )
    code, _ = lines_until_all_end([sys.executable, script, kind], 2, getattr(signal, name))
    assert code in (128 + getattr(signal, name), -getattr(signal, name))


@posix
def test_a_terminated_process_leaves_no_half_file(tmp_path):
    code = (
        "import sys, time; from codec.runs import files, process; process.end_when_told()\n"
        "with files.writing(sys.argv[1], False) as file:\n"
        "    file.write(b'half'); print('begun', flush=True); time.sleep(600)"
    )
    target = tmp_path / "a.lat"
    assert lines_until_all_end([sys.executable, "-c", code, target], 1, signal.SIGTERM)[0] == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())


BUSY = """
import hashlib, sys
from codec.runs import process
process.DEADLINE = 0.2
process.end_when_told()
print("begun", flush=True)
hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # one call of minutes
"""


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_is_answered_within_a_deadline_whatever_runs(name):
    number = getattr(signal, name)
    code = lines_until_all_end([sys.executable, "-c", BUSY], 1, number)[0]
    assert code in (128 + number, -number)  # the latter where it came before the call, as KeyboardInterrupt


@posix
def test_a_signal_that_is_ignored_stays_so():
    """As `nohup` has it."""
    code = (
        "import os, signal; from codec.runs import process; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "process.end_when_told(); os.kill(os.getpid(), signal.SIGHUP); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_ctrl_c_that_python_answers_has_all_the_time():
    code = (
        "import os, signal, time; from codec.runs import process; process.DEADLINE = 0.0; process.end_when_told()\n"
        "try: os.kill(os.getpid(), signal.SIGINT); time.sleep(60)\n"
        "except KeyboardInterrupt: time.sleep(0.3); print('finished')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "finished\n")


@posix
def test_standard_output_is_the_commands_whatever_libraries_print(tmp_path, crop):
    Image.fromarray(crop).save(tmp_path / "a.png")
    code = (
        "import os; from tests import quick; from codec import loaded; from codec.command import cli; quick.install()\n"
        "def codec(*args): print('EP Error'); os.write(1, b'bad_alloc'); return quick.QuickCodec()\n"
        "loaded.codec = codec; cli.entry()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "compress", tmp_path / "a.png", "-o", "-"], cwd=ROOT, capture_output=True
    )
    assert done.stdout.startswith(b"\x8eLAT") and b"EP Error" not in done.stdout and b"bad_alloc" not in done.stdout
    assert b"EP Error" in done.stderr and b"bad_alloc" in done.stderr
    assert container.parse(done.stdout).header.width == 128


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
        OSError("Cannot allocate memory"),
    ],
)
def test_lack_of_memory_has_one_wording(tmp_path, crop, monkeypatch, error):
    def codec(*args):
        raise error

    monkeypatch.setattr(loaded, "codec", codec)
    Image.fromarray(crop).save(tmp_path / "a.png")
    done = lat("compress", tmp_path / "a.png")
    assert done.returncode == 1 and "not enough memory or threads" in done.stderr and done.stderr.count("\n") == 1


def test_openmp_threads_wait_asleep_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("KMP_BLOCKTIME", "7")
    process.wait_passively()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE" and os.environ["KMP_BLOCKTIME"] == "7"


@pytest.fixture
def loads(monkeypatch) -> list[str]:
    """Names of the weights that were loaded, from an empty cache on."""
    names, real = [], Codec.load.__func__

    def load(cls, name, *args):
        names.append(name)
        return real(cls, name, *args)

    monkeypatch.setattr(Codec, "load", classmethod(load))
    monkeypatch.setattr(loaded, "_codecs", type(loaded._codecs)())
    return names


def test_the_plugin_loads_weights_once(codec, crop, loads):
    data = codec.encode(crop[:32, :32])
    expected = codec.decode(data).tobytes()

    def load(_) -> bool:
        with Image.open(io.BytesIO(data)) as image:
            return image.tobytes() == expected

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(load, range(8)))
    Image.fromarray(crop[:32, :32]).save(io.BytesIO(), "LAT")
    assert len(loads) == 1


def test_one_image_from_four_threads(codec, crop):
    data = codec.encode(crop)
    expected = codec.decode(data).tobytes()
    with Image.open(io.BytesIO(data)) as image, ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: image.tobytes(), range(8))) == {expected}


def test_weights_that_changed_on_disk_are_read_again(tmp_path, loads):
    from codec import weights

    path = tmp_path / "mine.safetensors"
    path.write_bytes(weights.locate(weights.DEFAULT).read_bytes())
    first = loaded.codec(str(path))
    assert loaded.codec(str(path)) is first
    os.utime(path, (1, 1))
    assert loaded.codec(str(path)) is not first and len(loads) == 2


def test_closed_images_and_copies(codec, crop):
    data = codec.encode(crop)
    image = Image.open(io.BytesIO(data))
    image.close()
    with pytest.raises((OSError, ValueError)):
        image.load()
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(image.copy(), codec.decode(data))
