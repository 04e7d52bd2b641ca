"""The nouns of the project, and the protocols that plug-ins fulfil. Imports nothing of ours.

Letters in tensor names: B batch, C channels, H height, W width, T train times, N examples.
Conventions: images are uint8 RGB; masks are float32 in [0, 1] with 1 = hidden (to be generated);
the sampler's state is float32 or float64; alpha is the paper's alpha_t, that is alpha_bar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from sde_edit.attention import Control, Reference
    from sde_edit.noise import Noise
    from sde_edit.schedule import Grid, Schedule

    Pixels = NDArray[np.uint8]
    Mask = NDArray[np.float32]


Project = Callable[["Tensor", int], "Tensor"]  # the task's edit of x at the i-th time of the grid
# What a way up leaves, the noisiest first: tape[0][i] is the source at the i-th time of the grid;
# what decode needs beside is the sampler's own, and is indexed by time as well.
Tape = tuple["Tensor", ...]
Adapter = Mapping[str, "Tensor"]  # the weights of a LoRA, of one image, by name
Scale = Callable[["Tensor"], "Tensor"]  # how much a LoRA counts at each of some times


def keep(x: Tensor, i: int) -> Tensor:
    """The Project that edits nothing."""
    return x


class UserError(Exception):
    """Something the user can mend: the message names the thing and the remedy."""


class NotFiniteError(UserError):
    """A network gave NaN or infinity; `rows` are the rows of the batch that have it."""

    def __init__(self, message: str, rows: Sequence[int]) -> None:
        super().__init__(message)
        self.rows = rows


# ------------------------------------------------------------------ what a run is


@dataclass(frozen=True)
class Choice:
    """One plug-in with its settings: `name` labels it in tables, `kind` finds its file."""

    name: str
    kind: str
    version: int
    params: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides the images of a run, and nothing else; hashed into its run id.

    A choice of version 0 is a name alone, of what had no part in the images.
    """

    task: Choice
    sampler: Choice
    model: Choice
    data: Choice
    steps: int
    spacing: str
    last_sigma: str
    dtype: str
    seed: int

    @property
    def made_elsewhere(self) -> bool:
        """Whether another program made the images; model, steps, dtype and seed then say nothing
        of them, and of the task nothing but its name.
        """
        return self.model.version == 0


# ------------------------------------------------------------------ data


Point = tuple[float, float]  # (x, y) in pixels of the image, x to the right and y down


@dataclass(frozen=True)
class Drag:
    """The content at `source` is to come to lie at `target`."""

    source: Point
    target: Point


@dataclass(frozen=True)
class Example:
    """One item of a data set, decoded.

    image [H, W, 3] is what is edited; truth [H, W, 3] is the right answer where it is known
    (None: not known); mask [H, W] in [0, 1], 1 = hidden, or to be changed; caption describes the
    image, target what it is to become ("": the data set asks for no change). reference [H, W, 3]
    is another image, of what the target says: no answer for this one, but one of the set whose
    distribution the outputs should have (None: the truth or the image is). hint [H, W, 3] is what
    a control net sees, such as a scribble. drags: what is to be moved from where to where.
    adapter: the LoRA fitted to the image, for a task that asks for one.
    """

    id: str
    image: Pixels
    caption: str = ""
    mask: Mask | None = None
    truth: Pixels | None = None
    target: str = ""
    reference: Pixels | None = None
    hint: Pixels | None = None
    drags: tuple[Drag, ...] = ()
    adapter: Adapter | None = None

    @property
    def prompt(self) -> str:
        """What the output should show: the target, or the caption where no change is asked for."""
        return self.target or self.caption


@dataclass(frozen=True)
class DataStatus:
    """What `sde-edit data status` says of a data set: what is there, what is wrong, the remedy.

    notes are worth knowing and no reason to stop.
    """

    found: int
    problems: Sequence[str] = ()
    remedy: str = ""
    notes: Sequence[str] = ()


class Dataset(Protocol):
    """A source of examples. Settings are dataclass fields; ids are cheap; load decodes one."""

    def ids(self) -> Sequence[str]:
        """Stable order, no duplicates. Raises UserError where the data is missing."""

    def load(self, example_id: str) -> Example:
        """Raises UserError naming the file if it cannot be used."""

    def status(self) -> DataStatus:
        """What is found and what is missing; never raises for missing data."""

    def digest(self) -> str:
        """Identifies the content of the data set; part of the run id."""


@runtime_checkable
class Composed(Dataset, Protocol):
    """A data set that says what it is made of."""

    def composition(self) -> Mapping[str, Mapping[str, int]]:
        """What is counted, as `category` -> label -> how many examples. Under `images`, `all` are
        all of them. Raises UserError where the data is missing.
        """


# ------------------------------------------------------------------ models and samplers


class Denoiser(Protocol):
    """eps_theta(x_t, t) with prompt and guidance bound; t holds one time per row.

    x may hold the batch several times over, at other times: row r is of example r mod B.
    """

    def __call__(self, x_BCHW: Tensor, t_B: Tensor) -> Tensor: ...


class Model(Protocol):
    """A loaded diffusion model with its autoencoder."""

    evaluations: int  # rows that went through the network so far; guidance costs two rows
    calls: int  # calls of the network so far, each a batch of rows
    rows_at_once: int  # latents that one call of the network may hold, guidance not counted
    device: torch.device
    state_dtype: torch.dtype  # of the sampler's state: float32, or float64 for float64 weights

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of a latent."""

    def encode(self, images_BHWC: Tensor) -> Tensor:
        """uint8 [B, H, W, 3] -> float32 latents [B, C, h, w]."""

    def decode(self, x_BCHW: Tensor) -> Tensor:
        """Latents -> uint8 [B, H, W, 3], rounded."""

    def denoiser(
        self,
        prompts: Sequence[str],
        guidance: float,
        negatives: Sequence[str] = (),
        hints_BHWC: Tensor | None = None,
    ) -> Denoiser:
        """eps with one prompt per row; guidance 1 evaluates the prompt alone.

        negatives: what guidance leads away from, one per row; () is "" for all.

        hints: uint8 [B, H, W, 3] for the control net. Raises UserError for a prompt or a guidance
        that the model does not know, for hints without a control net, and the other way round.
        """


@runtime_checkable
class Attentive(Model, Protocol):
    """A model whose text embeddings, attention and features can be had and changed."""

    prompt_tokens: int  # K, tokens of every prompt: start, words, end, padding

    @property
    def up_blocks(self) -> int:
        """How many its UNet has."""

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings [B, K, D]."""

    def word_tokens(self, prompt: str) -> list[list[int]]:
        """Token ids of each word, words being what blanks separate. K may cut off the last."""

    def attend(
        self,
        x_BCHW: Tensor,
        t_B: Tensor,
        text_BKD: Tensor,
        control: Control | Reference | None = None,
    ) -> Tensor:
        """eps under these embeddings, without guidance, its attention as `control` says."""

    def features(
        self, x_BCHW: Tensor, t_B: Tensor, text_BKD: Tensor, block: int
    ) -> tuple[Tensor, Tensor]:
        """eps as `attend` gives it, and what up block `block` (0 the lowest) gives on the way, in
        the dtype of x. Gradients to x go through both."""


@runtime_checkable
class Adaptable(Model, Protocol):
    """A model whose network can be fitted to single images by low-rank weights (LoRA)."""

    def fit_lora(
        self, x_BCHW: Tensor, prompts: Sequence[str], settings: LoraSettings, noise: Noise
    ) -> list[Adapter]:
        """The LoRA of each image, of these latents under these prompts."""

    def adapted(self, adapters: Sequence[Adapter], scale: Scale) -> AbstractContextManager[None]:
        """Until it is left, row r of a call has the LoRA r mod B, `scale` times at its time."""


class ModelSource(Protocol):
    """The settings of a model: what can be known of it before its weights are loaded."""

    @property
    def resolution(self) -> int:
        """Side of the square images it works on, in pixels."""

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of the state, as the loaded model has it. Raises UserError as `digest` does."""

    def schedule(self) -> Schedule: ...

    def digest(self) -> str:
        """Of the weights. Raises UserError with the remedy where they cannot be had."""

    def load(self, device: str, dtype: str, compile: bool = False) -> Model:
        """`compile` the network, for the same images up to rounding; its first calls take long."""


class Sampler(Protocol):
    """A way along a grid. Plug-ins are short: the mathematics is the body."""

    @property
    def evaluations_per_step(self) -> int:
        """Evaluations of eps that one step of decode costs."""

    @property
    def stochastic(self) -> bool:
        """Whether it solves the SDE; its way up is then noise, and its way back Cycle-SDE."""

    def decode(
        self,
        eps: Denoiser,
        x_BCHW: Tensor,
        grid: Grid,
        noise: Noise,
        project: Project = keep,
        tape: Tape = (),
    ) -> Tensor:
        """From x at grid.t[0] to x at grid.t[-1]; `project(x, i)` is the task's edit at time i.

        With the tape of `encode`, of the same grid: the way that the source came.
        """


@runtime_checkable
class Invertible(Sampler, Protocol):
    """A sampler with a way back."""

    exact: ClassVar[bool]  # whether decode returns what encode was given, up to rounding

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Tape:
        """From x at grid.t[-1] up to tape[0][0] at grid.t[0], and what leads back."""


@runtime_checkable
class MadeElsewhere(Protocol):
    """In a sampler's place: images that another program made. No network is loaded or evaluated."""

    def there(self, ids: Sequence[str], limit: int | None) -> Sequence[str]:
        """Those of the ids that have an image, in order.

        Raises UserError if one of the first `limit` (None: of all) has none and must have one.
        """

    def digest(self, ids: Sequence[str]) -> str:
        """Of the content of their images; part of the run id."""

    def read(self, example: Example) -> Pixels:
        """uint8 [H, W, 3], as large as the example's. Raises UserError naming the file."""


class Task(Protocol):
    """Owns the edit: takes examples, gives images."""

    @property
    def inverts(self) -> bool:
        """Whether it needs a sampler with a way back."""

    @property
    def changes(self) -> str:
        """What the edit changes between the way up and the way down, in words."""

    @property
    def uses_mask(self) -> bool:
        """Whether it looks at the mask; contact sheets show what it hides."""

    def check(self, example: Example) -> None:
        """Raises UserError if the example cannot be edited by this task."""

    def edit(
        self,
        examples: Sequence[Example],
        model: Model,
        sampler: Sampler,
        grid: Grid,
        noise: Noise,
    ) -> Tensor:
        """uint8 [B, H, W, 3], one image per example, in order."""

    def evaluations_per_image(self, steps: int) -> int:
        """Rows of the network that one image costs with one evaluation of eps per step."""


@runtime_checkable
class Selective(Task, Protocol):
    """A task that works with some samplers only."""

    @property
    def samplers(self) -> Sequence[str]:
        """Their kinds; () for all."""


@runtime_checkable
class CostsByExample(Task, Protocol):
    """A task whose images differ in what they cost; evaluations_per_image is of the cheapest.

    size: (h, w) of the latent.
    """

    def evaluations_of(self, example: Example, steps: int, size: tuple[int, int]) -> int:
        """As evaluations_per_image, of an example that `check` takes."""

    def follows(self, size: tuple[int, int]) -> str:
        """The settings that it takes from the size, for a message; "" for none."""


@runtime_checkable
class SharesWayUp(Task, Protocol):
    """A task whose runs share the way up if they differ in `t_0` alone."""

    @property
    def t_0(self) -> float:
        """How far up it goes, as a share of T."""

    def evaluations_up(self, steps: int) -> int:
        """Of evaluations_per_image, those of the way up."""

    def edits(
        self,
        t_0: Sequence[float],
        examples: Sequence[Example],
        model: Model,
        sampler: Sampler,
        grid: Grid,
        noise: Noise,
    ) -> list[Callable[[], Tensor]]:
        """The way up, gone once, and what gives the images of each t_0, in any order: the very
        images that `edit` gives of a task with that t_0."""


@runtime_checkable
class FindsMask(Task, Protocol):
    """A task that finds a mask by itself; `edit` sees it as the mask of the example."""

    @property
    def finds_mask(self) -> bool:
        """Whether it does, as it is set."""

    def mask_settings(self) -> Mapping[str, Any]:
        """What the masks depend on, beside model, data, grid, dtype and seed."""

    def find_masks(
        self, examples: Sequence[Example], model: Model, grid: Grid, noise: Noise
    ) -> Tensor:
        """Bool [B, h, w] at the size of the latent, each from its own example alone."""


@dataclass(frozen=True)
class LoraSettings:
    """steps of AdamW at that rate, for a LoRA of that rank."""

    rank: int
    rate: float
    steps: int


@runtime_checkable
class FitsLora(Task, Protocol):
    """A task that has the network fitted to each image first; `edit` sees the LoRA as that of the
    example."""

    @property
    def lora(self) -> LoraSettings | None:
        """None: no LoRA."""

    def lora_prompts(self, examples: Sequence[Example]) -> Sequence[str]:
        """What each image shows."""


# ------------------------------------------------------------------ scores


@dataclass(frozen=True)
class Score:
    """A metric over a run.

    replicates: the value under bootstrap resamplings of the examples. Resampling b draws the same
    examples for every run with the same ids, so differences of replicates are paired.
    per_example: id -> value, for metrics that have a value for each image.
    """

    value: float
    low: float
    high: float
    n: int
    replicates: Sequence[float]
    per_example: Mapping[str, float] | None = None


class Metric(Protocol):
    """One score. `rows` measures a batch; `statistic` turns all rows into the value."""

    @property
    def higher_is_better(self) -> bool: ...

    @property
    def resamplings(self) -> int:
        """How often the examples are resampled for its interval."""

    def convention(self) -> str:
        """Library, mode, extractor, weights, sizes and ranges: all that the number depends on."""

    def fetch(self) -> None:
        """Have the weights on this machine. Raises UserError with the remedy if that fails."""

    def load(self, device: str) -> None:
        """Fetch and load weights. Raises UserError with the remedy when they cannot be had."""

    def rows(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        """Float64 [B, D] for uint8 outputs and their examples; D = 1 for a value per image."""

    def statistic(self, rows_ND: Tensor, counts_BN: Tensor) -> Tensor:
        """Float64 values [B], one for each way of counting example n counts_BN[b, n] times."""


@runtime_checkable
class Pooled(Metric, Protocol):
    """A metric that has a value for each image all the same, of which its own is no plain mean."""

    def each(self, rows_ND: Tensor) -> Tensor:
        """Float64 [N]: the value of each example by itself."""


@dataclass(frozen=True)
class NamedMetric:
    """A metric as tables name it; `choice.params` holds all its settings."""

    choice: Choice
    metric: Metric


# ------------------------------------------------------------------ launching


@dataclass(frozen=True)
class Job:
    """One shard of one run: the overrides that compose it, and how many images it has to make."""

    overrides: tuple[str, ...]
    images: int

    def __str__(self) -> str:
        return " ".join(self.overrides)


class Work(Protocol):
    """Does jobs, one after the other, in one process."""

    def __call__(self, job: Job, on_images: Callable[[int], None]) -> None:
        """on_images is told how many images more are made. Raises UserError."""


@dataclass(frozen=True)
class Launched:
    """failures: job -> why, of jobs that were waited for. handle: what another program knows jobs
    by that were not (the id of a Slurm array).
    """

    failures: Mapping[Job, str] = field(default_factory=dict)
    handle: str = ""


class Launcher(Protocol):
    """Where the jobs of a sweep are done. Settings are dataclass fields."""

    def check(self) -> None:
        """Raises UserError if nothing can be launched this way here."""

    def launch(
        self,
        jobs: Sequence[Job],
        worker: Callable[[], Work],
        finish: Callable[[], object],
        folder: Path,
    ) -> Launched:
        """Do the jobs; a job that fails or dies leaves the others. Logs go to `folder`.

        `worker` makes the Work of a process. A launcher that does not wait for the jobs has
        `finish` called after them, whatever became of them. Both are picklable.
        """

    def states(self, handle: str) -> Mapping[str, str]:
        """Id of each job of a handle that is not over -> its state, as RUNNING; never blocks long.

        Raises UserError if it cannot be told.
        """
