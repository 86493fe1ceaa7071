"""Find a base model, load it, let it answer: one place for the embedded base, a folder, and the Hub.

A model here is a `gemma3_text` checkpoint in safetensors with its tokenizer; nothing else is accepted, and no code of a repository is
ever run. Numbers are float32, or bfloat16 where the hardware is faster with it, never float16, in which Gemma 3 overflows. This file
knows no tool and no example: prompts are texts that already hold their control tokens, and so are answers.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.functiongemma import STOP_TOKENS
from pipeline.hub.access import FUNCTION_GEMMA, check_config, fetch_base

EMBEDDED = Path(__file__).resolve().parent / "base" / "checkpoint"
GPU_SLOT = "STUDIO_GPU_SLOT"  # in the environment of a process that holds a ZeroGPU slot
SMALL = 200 * 2**20  # bytes of weights below which float32 is no slower and bfloat16 saves nothing worth having
_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w.-]+))?")

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class BaseModel:
    """A model to start from. `path` is its folder on this disk; `revision` the commit on the Hub, None for a folder."""

    id: str
    path: str
    revision: str | None
    embedded: bool
    label: str

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "path": self.path, "revision": self.revision, "embedded": self.embedded, "label": self.label}

    @property
    def config(self) -> dict[str, Any]:
        """The checkpoint's config.json."""
        return json.loads((Path(self.path) / "config.json").read_text(encoding="utf-8"))

    @property
    def context(self) -> int:
        """The longest text in tokens that the model can read."""
        return int(self.config["max_position_embeddings"])


@dataclass(frozen=True)
class Loaded:
    """A model in memory, ready to answer. `cache` keeps what the last prompts began with; None for weights that still change."""

    model: Any
    tokenizer: Any
    device: str
    dtype: str
    cache: Any = None


@dataclass(frozen=True)
class Generation:
    """What a model wrote: `text` keeps its control tokens, the stop included; `stopped` is False when it was cut by length."""

    text: str
    token_ids: list[int]
    stopped: bool


# ---------------------------------------------------------------------------------------------------------------- find


def find_base(base: str = "embedded", token: str | None = None, progress: Progress | None = None, *, owner: bool = False) -> BaseModel:
    """The model that `base` names: "embedded", a folder, or a Hub id such as google/functiongemma-270m-it, optionally @revision.

    A Hub model is fetched into the Hub's cache with `token`, whose owner must be allowed to use it each time; `owner` as in
    `pipeline.hub.access.fetch_base`. Raises ModelError, and HubError in the Hub's matters.
    """
    if base == "embedded":
        if not (EMBEDDED / "config.json").is_file():
            raise ModelError(f"The embedded base model is missing: expected it in {EMBEDDED}; restore the folder from the repository.")
        return BaseModel("embedded", check_checkpoint(EMBEDDED), None, True, "embedded demo model")
    folder = Path(base).expanduser()
    if base and folder.is_dir():
        return BaseModel(str(folder), check_checkpoint(folder), None, False, folder.resolve().name)
    named = _HUB_ID.fullmatch(base)
    if not named:
        raise ModelError(f"There is no model {base!r}: expected embedded, a folder, or a Hub id such as {FUNCTION_GEMMA}.")
    path = fetch_base(base, token, progress, owner=owner)
    label = "FunctionGemma 270M" if named[1] == FUNCTION_GEMMA else named[1]
    return BaseModel(named[1], check_checkpoint(path, named[1]), path.name, False, label)


def recorded(record: Mapping[str, Any], token: str | None = None, *, owner: bool = False) -> BaseModel:
    """The base that a run.json names, at the revision that it names, fetched again if it left the cache (`token`, `owner`: `find_base`).

    Raises ModelError and HubError.
    """
    base = BaseModel(**record)
    if base.embedded:
        return find_base("embedded", token)
    if base.revision is None:
        return replace(base, path=check_checkpoint(base.path))
    return base if Path(base.path).is_dir() else find_base(f"{base.id}@{base.revision}", token, owner=owner)


def check_checkpoint(folder: str | os.PathLike[str], name: str | None = None) -> str:
    """The absolute path of `folder` if it holds what this project can load; else raises ModelError with what is missing."""
    folder, name = Path(folder).resolve(), name or str(folder)
    check_config(folder / "config.json", name)
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{name} holds no .safetensors file; weights in other formats are not loaded.")
    if not (folder / "tokenizer.json").is_file():
        raise ModelError(f"{name} holds no tokenizer.json.")
    return str(folder)


# ---------------------------------------------------------------------------------------------------------------- load


def cpu_threads() -> int:
    """How many threads to compute with: OMP_NUM_THREADS if set, else the cores that this process may really use.

    A container's quota counts, which os.cpu_count() does not see: more threads than cores were 30 times slower.
    """
    if (chosen := os.environ.get("OMP_NUM_THREADS", "")).isdecimal() and int(chosen) > 0:
        return int(chosen)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, period = quota.read_text().split()
        if limit != "max":
            cores = min(cores, max(1, int(limit) // int(period)))
    return cores


def on_zero_gpu() -> bool:
    """Whether this is a ZeroGPU Space, where a process has a GPU for the length of a slot only."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")  # as spaces reads it


def choose_device() -> str:
    """"cuda" where there is a GPU, else "cpu".

    On ZeroGPU torch cannot be asked: in the app's own process CUDA is imitated and always there, in its children it is refused. There
    only a process that holds a slot has a GPU, and says so in the environment (GPU_SLOT).
    """
    if on_zero_gpu() and GPU_SLOT not in os.environ:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_dtype(device: str) -> str:
    """"bfloat16" where `device` computes faster with it, else "float32"; found out by measuring, never float16."""
    import torch

    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if _bfloat16_gain(torch.get_num_threads()) > 1.3 else "float32"


@cache
def _bfloat16_gain(threads: int) -> float:
    """How many times faster this CPU multiplies matrices of the 270M model's shape in bfloat16 than in float32.

    About 4 with AMX, 2 with AVX512_BF16, far below 1 without either. Takes some 20 ms, once for each number of threads.
    """
    import torch

    def seconds(dtype: torch.dtype) -> float:
        a, b = torch.ones(512, 640, dtype=dtype), torch.ones(640, 2048, dtype=dtype)
        times = []
        for _ in range(5):  # the first one warms up; the best of the rest is the least disturbed
            start = time.perf_counter()
            torch.matmul(a, b)
            times.append(time.perf_counter() - start)
        return min(times[1:])

    return seconds(torch.float32) / seconds(torch.bfloat16)


def is_small(path: str | os.PathLike[str]) -> bool:
    """Whether the checkpoint in `path` is so small that float32 is its number format everywhere."""
    return sum(file.stat().st_size for file in Path(path).glob("*.safetensors")) < SMALL


def suits(path: str | os.PathLike[str], device: str) -> str:
    """The number format for the checkpoint in `path` on `device`: float32 for a small one, else what the hardware is fastest with."""
    return "float32" if is_small(path) else choose_dtype(device)


def quiet() -> None:
    """Keep the libraries' chatter off stderr: what the user should know is said by this project. Call it before they are imported."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in ("torchao", "torch.utils._pytree"):  # kernels for other hardware that torchao does not find
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft|trl|accelerate)\b")


def load_tokenizer(path: str | os.PathLike[str]) -> Any:
    """The tokenizer exactly as tokenizer.json says, whatever class the repository names. Raises ModelError."""
    from transformers import PreTrainedTokenizerFast

    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(path, padding_side="left", clean_up_tokenization_spaces=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"The tokenizer in {path} cannot be loaded ({error}).") from error
    for token in ("<bos>", "<start_of_turn>", "<escape>", "<start_function_call>", *STOP_TOKENS):
        if len(found := tokenizer.encode(token, add_special_tokens=False)) != 1:
            raise ModelError(f"The tokenizer in {path} splits {token} into {len(found)} tokens; FunctionGemma's has one for it.")
    return tokenizer


def load_weights(path: str | os.PathLike[str], dtype: str) -> Any:
    """The Gemma3ForCausalLM in `path`, on the CPU, in `dtype` ("float32" or "bfloat16"). Raises ModelError."""
    quiet()
    import torch
    from safetensors import SafetensorError
    from transformers import Gemma3ForCausalLM

    if dtype not in ("float32", "bfloat16"):
        raise ModelError(f"The number format must be float32 or bfloat16, found {dtype}; Gemma 3 overflows in float16.")
    try:
        return Gemma3ForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype), attn_implementation="sdpa", use_safetensors=True)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(f"The model in {path} cannot be loaded: {str(error).splitlines()[0]}.") from error


def load(source: str | os.PathLike[str] | BaseModel, device: str | None = None, dtype: str | None = None) -> Loaded:
    """A base model or a run's model/ folder, ready to `generate`. `device` and `dtype` None: what suits. Raises ModelError."""
    quiet()
    import torch

    from pipeline.prefix_generate import PrefixCache

    path = source.path if isinstance(source, BaseModel) else check_checkpoint(source)
    torch.set_num_threads(cpu_threads())
    device = device or choose_device()
    dtype = dtype or suits(path, device)
    model = load_weights(path, dtype).to(device).eval()
    return Loaded(model, load_tokenizer(path), device, dtype, PrefixCache())


# ------------------------------------------------------------------------------------------------------------ generate


def stop_ids(tokenizer: Any) -> list[int]:
    """The ids of the tokens after which the model has said everything."""
    return [tokenizer.convert_tokens_to_ids(token) for token in STOP_TOKENS]


def generate(
    loaded: Loaded, prompts: Sequence[str], max_new_tokens: int = 128, progress: Progress | None = None,
    on_token: Callable[[int, int], None] | None = None,
) -> list[Generation]:  # fmt: skip
    """The greedy answers to `prompts` (texts that begin with <bos>), in their order; what prompts share is computed once.

    Each ends with the first of STOP_TOKENS, or is cut after `max_new_tokens`. `on_token(prompt's index, token id)` is told every token
    as it is made. Raises ModelError for a prompt that the model cannot read whole.
    """
    from pipeline.prefix_generate import generate_batch

    tokenizer, stops = loaded.tokenizer, stop_ids(loaded.tokenizer)
    rows = [tokenizer.encode(prompt, add_special_tokens=False) for prompt in prompts]
    context = loaded.model.config.max_position_embeddings
    if (longest := max(map(len, rows), default=0)) + max_new_tokens > context:
        raise ModelError(f"A prompt of {longest} tokens leaves no room for an answer: this model reads and writes {context} in all.")
    written, finished = [0] * len(rows), 0

    def watch(index: int, token: int) -> None:
        nonlocal finished
        written[index] += 1
        if on_token:
            on_token(index, token)
        if progress and (token in stops or written[index] == max_new_tokens):
            finished += 1
            progress(finished / len(rows), f"{finished} of {len(rows)} answers")

    made = generate_batch(loaded.model, rows, max_new_tokens, stops, cache=loaded.cache, on_token=watch)
    return [_generation(row, stops, tokenizer) for row in made]


def _generation(row: list[int], stops: Sequence[int], tokenizer: Any) -> Generation:
    text = tokenizer.decode(row, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return Generation(text, row, bool(row) and row[-1] in stops)
