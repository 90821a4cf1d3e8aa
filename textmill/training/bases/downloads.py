"""Download base models: OpenAI's checkpoints and Hugging Face repositories.

Each is downloaded once, into a temporary folder that is renamed when complete.
"""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from textmill.console import progress
from textmill.gpt2 import tokenizer
from textmill.gpt2.architecture import SIZES
from textmill.gpt2.formats import checkpoint, hugging_face
from textmill.ground.errors import UserError
from textmill.ground.files import folder_beside, write_beside

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

REVISION = "revision"  # the file that says which commit of a repository was fetched
_OPENAI = "https://openaipublic.blob.core.windows.net/gpt-2/models"  # where download_gpt2 fetches from
# importing gpt-2-simple turns eager TensorFlow off for a whole process, so it has one of its own
_DOWNLOAD = """
import os, sys
from textmill.console import progress
os.environ.pop("TEXTMILL_PROGRESS_FD", None)  # it was not given the descriptor
progress.follow_parent()
from gpt_2_simple import download_gpt2
download_gpt2(sys.argv[1], sys.argv[2])
"""
_ANSWER_WITHIN_S = 10
_REPORT_EVERY_S = 0.5
_TOKENIZERS = (tokenizer.FILE, *tokenizer.PAIRS[0])


def check(name: str, into: Path) -> None:
    """Check that a base is present, or that it can be downloaded: a size of OpenAI's, or `hf:OWNER/NAME`.

    Raises:
        UserError: its server does not answer, or does not have it.
    """
    repository = name.removeprefix("hf:")
    if repository == name:
        if not (into / name).is_dir():
            _size_of_openai(name)
    elif not _folder_of(repository, into).is_dir():
        try:
            _described(repository)
        except UserError:
            raise
        except Exception as error:  # as in from_hugging_face
            raise _unfetched(name, type(error).__name__) from error


def openai(size: str, into: Path) -> Path:
    """Download one of OpenAI's checkpoints with gpt-2-simple's `download_gpt2`, unless present.

    Raises:
        UserError: the download failed or is damaged.
    """
    target = into / size
    if target.is_dir():
        return target
    total = _size_of_openai(size)
    with _whole(target) as partial, _shown(f"Base {size}", partial, total):
        command = [sys.executable, "-P", "-c", _DOWNLOAD, str(partial), size]
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if ran.returncode:
            raise _unfetched(size, (ran.stderr.strip().splitlines() or ["no reason given"])[-1])
        found = checkpoint.describe(partial / size)
        shape = found.architecture
        whole = sum(path.stat().st_size for path in found.weight_files) >= 4 * shape.parameters
        if not whole or (shape.layers, shape.heads, shape.width) != SIZES[size]:
            raise _unfetched(size, "the download is damaged")
        for path in (partial / size).iterdir():
            path.rename(partial / path.name)
        (partial / size).rmdir()
    return target


def _size_of_openai(size: str) -> int:
    """Bytes of the checkpoint's largest file. Also a cheap check of the network."""
    try:
        answer = requests.head(f"{_OPENAI}/{size}/model.ckpt.data-00000-of-00001", timeout=_ANSWER_WITHIN_S)
        answer.raise_for_status()
        return int(answer.headers.get("Content-Length", 0))
    except (requests.RequestException, ValueError) as error:
        raise _unfetched(size, type(error).__name__) from error


def from_hugging_face(repository: str, into: Path) -> Path:
    """Download a Hugging Face repository, `OWNER/NAME` or `OWNER/NAME@REVISION`: weights, config, tokenizer.

    No other files and no pickles are downloaded. huggingface_hub reads HF_ENDPOINT and HF_TOKEN.

    Raises:
        UserError: the download failed, or the repository has no safetensors.
    """
    target = _folder_of(repository, into)
    if target.is_dir():
        return target
    name = repository.partition("@")[0]
    try:
        api, info = _described(repository)
        names = _wanted(repository, [file.rfilename for file in info.siblings or []])
        with _whole(target) as partial, _shown(f"Base hf:{repository}", partial, _size(info, names)):
            for file in names:
                api.hf_hub_download(name, file, revision=info.sha, local_dir=partial)
            shutil.rmtree(partial / ".cache", ignore_errors=True)
            write_beside(partial / REVISION, f"{info.sha}\n")
    except UserError:
        raise
    except Exception as error:  # which HTTP library's error it is differs between versions of huggingface_hub
        raise _unfetched(f"hf:{repository}", type(error).__name__) from error
    return target


def _folder_of(repository: str, into: Path) -> Path:
    return into / f"hf--{repository.replace('/', '--')}"


def _described(repository: str) -> "tuple[HfApi, ModelInfo]":
    """Hugging Face's client, and what it says of a repository's revision."""
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise UserError(
            f"hf:{repository} needs the package huggingface_hub; install it, or set model.base to a folder."
        ) from None
    name, _, revision = repository.partition("@")
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    return api, api.model_info(name, revision=revision or None, files_metadata=True, timeout=_ANSWER_WITHIN_S)


def _wanted(repository: str, names: Sequence[str]) -> list[str]:
    """The files to download from a repository."""
    weights = [name for name in names if "/" not in name and name.endswith(".safetensors")]
    if hugging_face.WEIGHTS in weights:
        weights = [hugging_face.WEIGHTS]
    if not weights:
        raise UserError(
            f"hf:{repository} has no safetensors; other weights may be pickles, which can run any code when "
            "read. Choose a repository with safetensors, or convert it with transformers' save_pretrained."
        )
    others = (hugging_face.CONFIG, hugging_face.INDEX, *_TOKENIZERS)
    return [*(name for name in others if name in names), *weights]


def _size(info: "ModelInfo", names: Sequence[str]) -> int:
    return sum(file.size or 0 for file in info.siblings or [] if file.rfilename in names)


def _unfetched(what: str, why: str) -> UserError:
    return UserError(
        f"The base {what} could not be downloaded ({why}); check the network and try again, or set "
        "model.base to a folder with a model."
    )


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """Context manager: a temporary folder that is moved into place on success."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # a killed run leaves gigabytes; no other fetches now, because a run locks the data folder
    for left in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(left, ignore_errors=True)
    with folder_beside(target) as partial:
        yield partial


@contextmanager
def _shown(title: str, folder: Path, total: int) -> Iterator[None]:
    """Context manager: report the folder's size as progress towards `total` bytes."""
    progress.step(title)
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(folder, total, done), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    progress.result(f"{_bytes_in(folder) / 1e6:,.0f} MB downloaded")


def _watch(folder: Path, total: int, done: threading.Event) -> None:
    while not done.wait(_REPORT_EVERY_S):
        size = _bytes_in(folder)
        progress.report(min(size, total), max(total, 1), f"{size / 1e6:,.0f} of {total / 1e6:,.0f} MB")


def _bytes_in(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        try:
            size += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # renamed by who writes it
            continue
    return size
