"""`rgalign evaluate reasoner`: which questions are asked of which models, and where the report is written.

Everything computed is kept in the cache by content: a stopped report goes on where it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from deploy import figures
from deploy.reasoner_tables import Section, markdown, picture
from deploy.reasoner_tables import figures as flat
from deploy.screen import Advance
from features.knowledge import KnowledgeBase
from features.models import chosen_reasoner, ensure_text_encoder
from features.reasoner import Reasoner, TextEncoder, open_reasoner, reasoner_id, text_encoder_id
from features.reasoner_settings import ReasonerSettings
from features.untrusted import MAX_TEXT_BYTES
from features.vectors import Source
from training import issue_texts
from training.dials import TUNING_SEEDS
from training.kept_encodings import KeptTexts, KeptVectors
from training.locale_questions import cross_locale
from training.pooled_states import PooledStates, pooled_id
from training.questions import QuestionSet
from training.reasoner_quality import LanguageModel, SentenceEncoder, evaluated
from training.second_family import ensure_gemma
from training.words import load_phrases
from training.world import World
from training.world_questions import world_questions

TITLE = "How well the reasoner's latent queries find the true intent"
GEMMA_ABSENT = (
    "Gemma 3 270M: not measured. Its terms restrict use: read https://ai.google.dev/gemma/terms, then "
    "`rgalign evaluate reasoner --accept-gemma-terms` fetches it once (238 MB)"
)
DATA_ABSENT = (
    "real questions (ABCD, Bitext, HINT3): not measured, the folder of public data is not here: "
    "give it with --data DIR or RGALIGN_DATA"
)

SOURCES = (
    "ABCD: CC BY 4.0 (HumanFirst / Zia.ai, asappresearch/abcd), labels by people, statements by GPT-4; Bitext: "
    f"CDLA-Sharing-1.0, template text, says little about quality; HINT3: ODbL; a prompt quotes {MAX_TEXT_BYTES} bytes"
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """At most so many questions a set, and for mode G, which costs ten times mode P on a CPU, in `GENERATED` alone."""

    questions: int
    generated: int


FULL, QUICK = Sizes(120, 40), Sizes(30, 10)
GENERATED = frozenset({"world_typed", "abcd"})


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured, what could not be, and the files that tell it."""

    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    files: tuple[Path, ...]


def report(
    cache: Path,
    kb: KnowledgeBase,
    public: Path | None,
    out: Path,
    *,
    sizes: Sizes,
    seed: int,
    accepts_gemma: bool,
    progress: Advance,
) -> Report:
    """Measures everything that is at hand and writes reasoner.md and reasoner.svg to `out`, figures to `.out`."""
    began_s = time.monotonic()
    models, encoders, missing = _models(cache, accepts_gemma=accepts_gemma, progress=progress)
    sets = _sets(kb, public, sizes, seed, progress)
    sections = []
    for questions in sets:
        most = sizes.generated if questions.name in GENERATED else 0
        rows = evaluated(questions, models, encoders, most_generated=most, seed=seed, progress=progress)
        sections.append(Section(questions.name, questions.title, len(questions.answers), tuple(rows)))
    seconds = time.monotonic() - began_s
    notes = _notes(kb, models, seed, seconds) + missing + [SOURCES if public else DATA_ABSENT]
    told = flat(sections) | {"seconds": seconds, "seed": seed}
    figures.write("evaluate-reasoner", told | {"has_gemma": not missing, "has_public_data": public is not None})
    return Report(tuple(sections), tuple(notes), _written(out, notes, sections))


def _models(
    cache: Path, *, accepts_gemma: bool, progress: Advance
) -> tuple[list[LanguageModel], list[SentenceEncoder], list[str]]:
    """The reasoner that is set up, the second family if it may be used, MiniLM; and what is missing."""
    settings = ReasonerSettings()
    chosen = settings.folder
    threads = settings.threads if "threads" in settings.model_fields_set else os.cpu_count() or 1
    own = _language_model(
        "reasoner", chosen.name if chosen else "SmolLM2-135M", chosen_reasoner(cache, chosen, progress), cache, threads
    )
    gemma = ensure_gemma(cache, progress, terms_accepted=accepts_gemma)
    second = [] if gemma is None else [_language_model("gemma", "Gemma 3 270M", gemma, cache, threads)]
    minilm = ensure_text_encoder(cache, progress)
    source = Source(text_encoder_id(minilm), lambda: TextEncoder(minilm, threads=threads))
    encoders = [SentenceEncoder("minilm", "MiniLM-L6", KeptVectors(source, cache))]
    return [own, *second], encoders, [GEMMA_ABSENT] if gemma is None else []


def _language_model(key: str, title: str, folder: Path, cache: Path, threads: int) -> LanguageModel:
    settings = ReasonerSettings(
        folder=folder, backend="torch", device="cpu", dtype="fp32", mode="G", threads=threads, cache=cache
    )

    @lru_cache(maxsize=1)
    def generator() -> Reasoner:
        return open_reasoner(folder, settings)

    states = KeptVectors(Source(pooled_id(folder), lambda: PooledStates(folder, threads)), cache)
    queries = KeptTexts(reasoner_id(folder, settings), lambda texts: generator().explain(texts), cache)
    return LanguageModel(key, title, states, queries)


def _sets(kb: KnowledgeBase, public: Path | None, sizes: Sizes, seed: int, progress: Advance) -> list[QuestionSet]:
    phrases = load_phrases()
    world = World(kb, phrases, TUNING_SEEDS[0])
    sets = world_questions(kb, world, sizes.questions, seed, progress)
    sets += cross_locale(kb, phrases, sizes.questions, seed)
    loaders: tuple[Callable[[Path, int, int], QuestionSet], ...] = (
        issue_texts.abcd, issue_texts.bitext, issue_texts.hint3,
    )  # fmt: skip
    sets += [] if public is None else [loader(public, sizes.questions, seed) for loader in loaders]
    return [questions for questions in sets if questions.in_scope]


def _notes(kb: KnowledgeBase, models: list[LanguageModel], seed: int, seconds: float) -> list[str]:
    return [
        f"reference: {models[0].title}, mode P, the slot's last token, means subtracted; knowledge base {kb.version}, "
        f"seed {seed}, {seconds:.0f} s (what is in the cache is not computed again)",
        "every figure subtracts a mean per side (questions: of other people's questions), but for the column 'mean "
        "kept', which is recall@3 with the means left in; a gain is on the same questions: of mode G on mode P of the "
        "same model, of all others on the reference",
        "brackets: 95 % bootstrap intervals, whole shoppers, conversations or (Bitext) intents resampled; each by "
        "itself, not corrected for how many there are",
        f"the world is simulated ({World(kb, load_phrases(), TUNING_SEEDS[0]).dials}); its ceiling is the Bayes "
        "posterior given all that happened in the visit",
        "untuned: the LLM earns its place through tuning, not here",
    ]  # fmt: skip


def _written(out: Path, notes: list[str], sections: list[Section]) -> tuple[Path, ...]:
    out.mkdir(parents=True, exist_ok=True)
    note = "recall@3 with 95 % intervals: filled = means subtracted, hollow = means kept, dashed = chance"
    written = []
    for name, text in (
        ("reasoner.md", markdown(TITLE, notes, sections)),
        ("reasoner.svg", picture(TITLE, note, sections)),
    ):
        partial = out / f"{name}.part"
        partial.write_text(text)
        written.append(partial.replace(out / name))
    return tuple(written)
