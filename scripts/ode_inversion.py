"""Which form of ODE inversion is the best ODE arm? Measured on validation scenes.

    python scripts/ode_inversion.py [dtype=bfloat16 ...] [--scenes 64] [--equal-steps]
        [--tasks reconstruct diffedit] [--out FILE]

Every form inverts and decodes the same validation scenes at equal network evaluations, with
--equal-steps also at equal steps: a step with k iterations costs 2 + k evaluations up and down, a
plain one 2. Runs resume.

The rule, fixed before the runs: the ODE arm is the form with the highest PSNR to the truth at equal
evaluations, as the mean of its differences from `start` over all tasks and guidance scales. The
truth is the rendered edit; of a reconstruction it is the image.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sde_edit as se
from sde_edit.commands.run import run_all
from sde_edit.config import experiment
from sde_edit.python.runs import Run
from sde_edit.store.runs import run_id

GUIDANCE = (1.0, 3.0, 7.5)
_BOTH = ("task.source_guidance", "task.guidance")
# task -> its data, the keys that take the guidance scale, and further settings.
TASKS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "reconstruct": ("shapes", ("task.guidance",), ()),
    "roundtrip": ("shapes-edits", _BOTH, ()),
    "diffedit": ("shapes-edits", _BOTH, ()),
    "ddib": ("shapes-classes", _BOTH, ()),
    "drag": ("shapes-drags", ("task.guidance",), ("task.lora_steps=0",)),
}


@dataclass(frozen=True)
class Form:
    """A form of DDIM inversion: `inversion_time`, and the number of iterations."""

    asks: str
    iterations: int = 0

    @property
    def label(self) -> str:
        if not self.iterations:
            return self.asks
        return f"{self.asks}, {self.iterations} iteration{'s' if self.iterations > 1 else ''}"

    def steps_for(self, evaluations: int) -> int:
        """The number of steps that cost about so many evaluations, up and down."""
        return round(evaluations / (2 + self.iterations))


START = Form("start")
FORMS = (START, Form("end"), *(Form("end", k) for k in (1, 2, 5)))
Runs = dict[tuple[Form, float, int], Run]


def overrides(
    task: str, form: Form, guidance: float, steps: int, given: Sequence[str]
) -> list[str]:
    """What `sde-edit run` would be given."""
    data, keys, further = TASKS[task]
    return [
        *(f"task={task}", f"data={data}", "data.split=val", "metrics=[psnr]", f"steps={steps}"),
        *("sampler=ode", f"sampler.inversion_time={form.asks}"),
        f"sampler.fixed_point={form.iterations}",
        *(f"{key}={guidance}" for key in keys),
        *further,
        *given,
    ]


def steps_of(form: Form, steps: int, *, equal_evaluations: bool) -> int:
    """The steps of a form where a plain inversion takes `steps`."""
    return form.steps_for(2 * steps) if equal_evaluations else steps


def made(task: str, steps: int, ways: Sequence[bool], given: Sequence[str]) -> Runs:
    """The runs of all forms at all guidance scales. ways: whether at equal evaluations."""
    wanted = {
        (form, guidance, n): experiment(overrides(task, form, guidance, n, given))
        for form in FORMS
        for guidance in GUIDANCE
        for n in {steps_of(form, steps, equal_evaluations=way) for way in ways}
    }
    found = {run.id: Run(run) for run in run_all(list(wanted.values()), evaluate=True)}
    return {key: found[run_id(one.spec)] for key, one in wanted.items()}


def gain(runs: Runs, form: Form, guidance: float, n: int, steps: int) -> se.Difference:
    """How the form's PSNR differs from that of `start` on the same scenes."""
    pair = runs[form, guidance, n], runs[START, guidance, steps]
    return se.compare(*pair).differences["psnr"]


def block(runs: Runs, steps: int, *, equal_evaluations: bool) -> list[str]:
    """A Markdown table: a row for each form, a column for each guidance scale."""
    lines = [f"| form | steps | {' | '.join(f'guidance {g:g}' for g in GUIDANCE)} |"]
    lines.append("|---" * (2 + len(GUIDANCE)) + "|")
    for form in FORMS:
        n = steps_of(form, steps, equal_evaluations=equal_evaluations)
        cells = [shown(runs, form, g, n, steps) for g in GUIDANCE]
        lines.append(f"| {form.label} | {n} | {' | '.join(cells)} |")
    return lines


def shown(runs: Runs, form: Form, guidance: float, n: int, steps: int) -> str:
    """PSNR, and its difference from that of `start` with the paired 95 % interval."""
    if form == START:
        return f"{runs[form, guidance, n].scores['psnr'].value:.2f}"
    found = gain(runs, form, guidance, n, steps)
    interval = f"[{found.low:+.2f}, {found.high:+.2f}]"
    return f"{found.a:.2f} ({found.a - found.b:+.2f} {interval})"


def report(tasks: dict[str, Runs], steps: int, ways: Sequence[bool]) -> str:
    """All tables, and what the rule decides by, as Markdown."""
    lines = [
        "PSNR in dB; in brackets the difference from `start` at as many evaluations or steps, "
        "paired by scene, with its 95 % interval."
    ]
    for task, runs in tasks.items():
        for way in ways:
            title = f"## {task}, equal {'evaluations' if way else 'steps'}"
            lines += ["", title, "", *block(runs, steps, equal_evaluations=way)]
    lines += ["", "## Mean difference at equal evaluations, over tasks and guidance scales", ""]
    for form in FORMS[1:]:
        n = steps_of(form, steps, equal_evaluations=True)
        found = [gain(runs, form, g, n, steps) for runs in tasks.values() for g in GUIDANCE]
        mean = statistics.mean(one.a - one.b for one in found)
        lines.append(f"- {form.label}: {mean:+.2f} dB")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the forms of ODE inversion.")
    parser.add_argument("overrides", nargs="*", help="of all runs, as dtype=bfloat16")
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--steps", type=int, default=50, help="steps of a plain inversion")
    parser.add_argument("--equal-steps", action="store_true", help="also at equal steps")
    parser.add_argument("--out", type=Path, help="a Markdown file; otherwise it is printed")
    args = parser.parse_args()
    given = [f"data.limit={args.scenes}", *args.overrides]
    ways = (True, False) if args.equal_steps else (True,)
    tasks = {task: made(task, args.steps, ways, given) for task in args.tasks}
    text = report(tasks, args.steps, ways)
    if args.out:
        args.out.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
