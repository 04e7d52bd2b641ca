"""Judged claims as Markdown, JSON and LaTeX. The same findings give the same bytes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

from tabulate import tabulate

from sde_edit.api.citation import Citation
from sde_edit.report.claims import Claim, Comparison, Finding, decisive, score
from sde_edit.report.latex import tex_escape
from sde_edit.report.table import Cell, format_central, interval, metric_label

_FIRST = "What the papers claim, and what the stored tables say of it"


@dataclass(frozen=True)
class Judged:
    """A claim with the paper that makes it and what was found, the table's own setting first.

    misfit: why the stored table cannot decide the claim, which then is not tested here; "" if it
    can, or if there is none.
    """

    claim: Claim
    paper: Citation | None
    findings: tuple[Finding, ...]
    misfit: str = ""

    @property
    def source(self) -> str:
        """The paper and the place in it, such as "Nie et al. 2024, Table 2"."""
        return ", ".join(filter(None, (self.paper.short if self.paper else "", self.claim.where)))


# ------------------------------------------------------------------ texts
def effect(claim: Claim, finding: Finding) -> str:
    """The comparison that is least in favour of the claim, with its interval; "" without one."""
    if finding.verdict == "not tested here":
        return ""
    one = decisive(claim, finding)
    if one.text:
        return f"{one.text} ({one.a.replace(' | ', ', ')})"
    return f"{metric_label(one.metric)}: {difference(one)} ({_pair(one)})"


def difference(one: Comparison) -> str:
    """A - B with its 95 % interval."""
    cell = Cell(one.value, one.low, one.high, decimals=one.decimals)
    mark = "" if one.low is None or one.paired else ", unpaired"
    return " ".join(filter(None, (format_central(cell), interval(cell)))) + mark


def _pair(one: Comparison) -> str:
    """The two cells; what they share, row or column, is said once."""
    (a, _, at), (b, _, on) = one.a.partition(" | "), one.b.partition(" | ")
    if at == on:
        return f"{a} − {b}, {at}"
    return f"{a}, {at} − {on}" if a == b else f"{a}, {at} − {b}, {on}"


def rule_in_words(claim: Claim) -> str:
    """What must be so."""
    metrics = ", ".join(" or ".join([m] if isinstance(m, str) else m) for m in claim.metrics)
    arms = ", ".join(claim.arms)
    columns = f" ({', '.join(claim.columns)})" if claim.columns else ""
    if claim.rule == "exact":
        return f"`exact`: in every cell of {arms}{columns} all images equal in every bit"
    whom = f"{arms} against {claim.than}, each column{columns}"
    if claim.than is None:
        before = "all before it" if claim.rule == "equal" else "the one before it"
        whom = f"{arms}: each column{columns} against {before}"
    margin = ""
    if claim.margin is not None:
        size = f"{100 * claim.margin:g} %" if claim.relative else f"{claim.margin:g}"
        margin = f" within {size}"
    return f"`{claim.rule}`{margin}: {whom}; {metrics}"


# ------------------------------------------------------------------ Markdown
def claims_markdown(judged: Sequence[Judged]) -> str:
    """The summary, then every claim with its rule and all verdicts."""
    parts = [f"# {_FIRST}", summary(judged, "tables/"), _READING]
    for topic, group in groupby(judged, key=lambda one: one.claim.topic):
        parts.append(f"## {topic}")
        parts += [_section(one) for one in group]
    return "\n\n".join(parts) + "\n"


_READING = (
    "Every line below shows the comparison that is least in favour of the claim, with its 95 % "
    "interval. A verdict holds for the model and data beside it and for no other. Rules and "
    "verdicts are explained in [claims](../docs/claims.md)."
)


def summary(judged: Sequence[Judged], tables: str) -> str:
    """A line for each headline, and the number of claims of each verdict.

    tables: the path of the folder of the tables from the page on which it will be. A model of which
    the tables have several weights is named with their digest.
    """
    lines = []
    found = {pair for one in judged for pair in one.findings[0].weights.items()}
    several = {model for model, count in Counter(model for model, _ in found).items() if count > 1}
    for topic, group in groupby(judged, key=lambda one: one.claim.topic):
        headlines = [one for one in group if one.claim.headline]
        labels = [topic, *[""] * len(headlines)]
        pairs = zip(labels, headlines, strict=False)
        lines += [_line(label, one, tables, several) for label, one in pairs]
    headings = ["", "claim", "in the paper", "model", "verdict", "comparisons"]
    table = tabulate(lines, headings, tablefmt="pipe", disable_numparse=True)
    return "\n\n".join([table, _counts(judged)])


def _line(topic: str, one: Judged, tables: str, several: set[str]) -> list[str]:
    own, name = one.findings[0], one.claim.table
    counted = score(one.claim, own)
    linked = f"{counted} ([{name}]({tables}{name}.md))" if counted else ""
    verdict = f"**{own.verdict}**" if counted else own.verdict
    models = ", ".join(
        f"{model} `{own.weights[model][:6]}`" if model in several & own.weights.keys() else model
        for model in own.world.model
    )
    return [topic, one.claim.sentence, one.source, models, verdict, linked]


def _counts(judged: Sequence[Judged]) -> str:
    """The number of claims of each verdict, and of those that wait for the papers' own setting."""
    own = [one.findings[0].verdict for one in judged]
    counted = ", ".join(f"{own.count(v)} {v}" for v in dict.fromkeys(own))
    others = sum(len(one.findings) - 1 for one in judged)
    elsewhere = f" With the models and data of the papers {others} are not tested here."
    return f"All {len(judged)} claims: {counted}." + (elsewhere if others else "")


def _section(one: Judged) -> str:
    claim = one.claim
    head = f"**{claim.sentence}** — {one.source} (`{claim.name}`)"
    lines = [[str(f.world), f.verdict, score(claim, f), _effect_or_remedy(claim, f)]
             for f in one.findings]  # fmt: skip
    table = tabulate(lines, ["model and data", "verdict", "comparisons", "least in favour"],
                     tablefmt="pipe", disable_numparse=True)  # fmt: skip
    link = f"[{claim.table}](tables/{claim.table}.md)"
    tested = any(f.comparisons for f in one.findings)
    rule = f"Rule {rule_in_words(claim)}; in {link if tested else f'`{claim.table}`'}."
    return "\n\n".join(filter(None, (head, " ".join(filter(None, (rule, claim.note))), table)))


def _effect_or_remedy(claim: Claim, finding: Finding) -> str:
    return f"`{finding.remedy}`" if finding.remedy else effect(claim, finding)


def listing(judged: Sequence[Judged]) -> str:
    """For a terminal: a line for each verdict."""
    lines = [
        {
            "claim": record["claim"],
            "paper": record["source"],
            "model": record["model"],
            "data": record["data"],
            "verdict": record["verdict"],
            "comparisons": record["comparisons"],
            "least in favour, or the command": record["effect"] or record["remedy"],
            "table": record["table"],
        }
        for record in flat_records(judged)
    ]
    return str(tabulate(lines, "keys", tablefmt="github", disable_numparse=True))


def flat_records(judged: Sequence[Judged]) -> list[dict[str, str]]:
    """Texts of each verdict: claim, source, model, data, verdict, comparisons, effect, which is the
    one least in favour, table, and remedy, the command that makes what is missing."""
    return [
        {
            "claim": one.claim.name,
            "source": one.source,
            "model": ", ".join(found.world.model),
            "data": ", ".join(found.world.data),
            "verdict": found.verdict,
            "comparisons": score(one.claim, found),
            "effect": effect(one.claim, found),
            "table": f"tables/{one.claim.table}.md",
            "remedy": found.remedy,
        }
        for one in judged
        for found in one.findings
    ]


# ------------------------------------------------------------------ JSON
def claims_json(judged: Sequence[Judged]) -> str:
    """Every claim with its settings and every comparison, unrounded."""
    records = [
        {
            **asdict(one.claim),
            "paper": one.paper.key if one.paper else None,
            "findings": [
                asdict(finding) | {"effect": effect(one.claim, finding)} for finding in one.findings
            ],
        }
        for one in judged
    ]
    return json.dumps(records, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


# ------------------------------------------------------------------ LaTeX
def claims_latex(judged: Sequence[Judged]) -> str:
    """A booktabs longtable: claim, place in the paper, model and data, verdict, effect."""
    head = [
        r"\toprule",
        r"claim & in the paper & model, data & verdict & least in favour \\",
        r"\midrule",
    ]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,longtable,array}",
            r"\begingroup\fontsize{8}{9.5}\selectfont\setlength{\tabcolsep}{3pt}",
            r"\newcommand{\ragged}{\raggedright\arraybackslash}",
            r"\begin{longtable}{@{}>{\ragged}p{110pt}>{\ragged}p{62pt}>{\ragged}p{55pt}"
            r">{\ragged}p{50pt}>{\ragged}p{95pt}@{}}",
            rf"\caption{{{tex_escape(_FIRST)}.}}\label{{tab:claims}} \\",
            *head,
            r"\endfirsthead",
            *head,
            r"\endhead",
            r"\bottomrule",
            r"\endfoot",
            *_latex_lines(judged),
            r"\end{longtable}\endgroup",
        ]
    ) + "\n"  # fmt: skip


def _latex_lines(judged: Sequence[Judged]) -> Iterator[str]:
    for topic, group in groupby(judged, key=lambda one: one.claim.topic):
        yield rf"\multicolumn{{5}}{{@{{}}l}}{{\textit{{{tex_escape(topic)}}}}} \\*"
        for one in group:
            for i, f in enumerate(one.findings):
                cells = [
                    *(("", "") if i else (one.claim.sentence, one.source)),
                    str(f.world),
                    f.verdict,
                    effect(one.claim, f),
                ]
                yield " & ".join(map(tex_escape, cells)) + r" \\"
