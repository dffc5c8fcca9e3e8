"""Decide whether the newest model replaces the champion, and carry the decision out.

This is all of `python -m flows.promote` but what has to do with Prefect. Two of these never run in
one work tree at a time, nor one beside a stage of the pipeline.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows import dvc
from flows.dvc import Say
from flows.journal import Crowning, Journal, find, now, rolled_back
from flows.versions import Overtaken, Tags
from kinoflow import bentos
from kinoflow.config import Params
from kinoflow.reports.decision import Decision, Evidence, decide
from kinoflow.system import files, locks
from kinoflow.system.documents import read_yaml
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import printable
from kinoflow.workspace import Workspace

TIME = "%Y-%m-%d %H:%M:%S UTC"  # how points in time are written
_AGAIN = 3  # decisions that others may overtake


@dataclass(frozen=True)
class Office:
    """Where promotions are decided: a work tree and its settings.

    Args:
        workspace: the work tree.
        params: its params.yaml.
        say: hears, in lines, what is done.
    """

    workspace: Workspace
    params: Params
    say: Say

    @property
    def champions(self) -> Journal | Tags:
        settings = self.params.retrain
        return Tags(self.workspace, settings) if settings.git else Journal(self.workspace)

    def propose(self, run: str | None = None) -> Decision:
        """Decide on the newest model, and carry that out.

        A hold is written down, and nothing else: `settle` ends it. What was decided before of the
        same model, champion, clips and limits stands.

        Args:
            run: the flow run of Prefect that waits for a person, if it comes to that.

        Raises UserError if there is no newest model or the champion is gone, and StageFailed if the
        two cannot be compared.
        """
        with self._alone():
            for _ in range(_AGAIN):
                self.champions.follow(self.say)
                with contextlib.suppress(Overtaken):
                    return self._propose(run)
                self.champions.learn(self.say)
                self.say("another model became champion meanwhile: the decision is made anew")
        raise UserError(f"others promoted models {_AGAIN} times meanwhile: run it again")

    def settle(self, *, promote: bool, person: bool = True) -> Decision:
        """End a hold.

        Args:
            promote: whether the model that waits becomes champion.
            person: whether a person says so; otherwise time has run out.

        Raises UserError if nothing waits, or if another model became champion meanwhile.
        """
        with self._alone():
            self.champions.follow(self.say)
            made = self.pending()
            if made is None:
                raise UserError("no model waits for a decision")
            return self._settle(made, promote=promote, person=person)

    def roll_back(self, wanted: str | None) -> Crowning:
        """Bring an earlier champion back; return it.

        Args:
            wanted: its name or version; None: the one before the present champion.
        """
        with self._alone():
            entries = self.champions.entries()
            crowning = find(entries, wanted)
            bento = self.champions.bring(crowning, self.say)
            why = f"rolled back by hand, from {entries[-1].name}"
            self.champions.roll_back(crowning, bento, why, self.say)
            made = self.last()
            if made and made.challenger == entries[-1].version != crowning.version:
                since = f"rolled back by hand to {crowning.name} on {now()}"
                made.model_copy(update={"since": since}).write(self.workspace.decision)
                if self.workspace.page.exists():
                    self._report()
            return crowning

    def wait_in(self, run: str) -> Decision:
        """Note that another flow run waits for a person now; return the decision."""
        with self._alone():
            made = self.pending()
            if made is None:
                raise UserError("no model waits for a decision")
            made = made.model_copy(update={"run": run})
            made.write(self.workspace.decision)
            self._report()
            return made

    def is_up_to_date(self) -> bool:
        """Whether the newest model is known to be champion, without asking another machine."""
        if self.params.retrain.git and self.params.retrain.remote:
            return False
        with contextlib.suppress(UserError, FileNotFoundError):
            champion = bentos.champion(self.workspace.champion)
            same = champion and bentos.version(champion) == bentos.version(self.workspace.bento)
            return bool(same) and self.pending() is None
        return False

    def pending(self) -> Decision | None:
        """The decision that waits for a person; None if none does."""
        made = self.last()
        return made if made is not None and made.verdict == "hold" else None

    def last(self) -> Decision | None:
        """The last decision; None if nothing was decided yet."""
        path = self.workspace.decision
        made = Decision.read(path) if path.exists() else None
        return made if made is not None and made.verdict is not None else None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        doing = "deciding on a promotion"
        with (
            locks.held(self.workspace.lock("data"), doing),
            locks.held(self.workspace.lock("dist"), doing),
        ):
            if self.workspace.dist.exists():
                files.sweep(self.workspace.dist)
            self.champions.learn(self.say)
            yield

    def _propose(self, run: str | None) -> Decision:
        workspace = self.workspace
        if not workspace.bento.exists():
            raise UserError(
                f"there is no {workspace.bento}: `make repro` packages the newest model"
            )
        challenger = bentos.version(workspace.bento)
        champion = self._champion()
        before = self.last()
        if before is not None and before.verdict == "hold" and _over(before):
            before = self._settle(before, promote=False, person=False)
        if challenger == champion:
            return decide(challenger, champion, None, self.params.promotion)
        basis = self._basis(challenger, champion)
        again = None
        if champion is not None:
            model = bentos.model_md5(workspace.bento)
            again = rolled_back(self.champions.entries(), challenger, model)
        if before is not None and before.basis == basis:
            if before.verdict in ("hold", "reject"):
                return before
            if again is None:
                # a run was killed before it had done what it decided
                return self._carry_out(before)
        evidence = None
        if champion is not None:
            dvc.stage("challenge", self.say, workspace)
            evidence = Evidence.read(workspace.challenge)
        made = decide(challenger, champion, evidence, self.params.promotion, rolled_back=again)
        made = made.model_copy(update={"decided": now(), "basis": basis})
        if made.verdict == "hold":
            hours = self.params.promotion.hold_hours
            until = datetime.now(UTC) + timedelta(hours=hours)
            made = made.model_copy(update={"until": f"{until:{TIME}}", "run": run})
        return self._carry_out(made, before)

    def _settle(self, made: Decision, *, promote: bool, person: bool) -> Decision:
        if promote and made.champion != self._champion():
            raise UserError(
                "the champion has changed since: run `python -m flows.promote` to compare anew"
            )
        what = "promoted" if promote else "rejected"
        why = f"a person {what} it" if person else "nobody decided in time"
        settled = made.model_copy(
            update={
                "verdict": "promote" if promote else "reject",
                "reasons": (why, *made.reasons),
                "decided": now(),
                "until": None,
                "run": None,
                "person": person,
            }
        )
        try:
            return self._carry_out(settled)
        except Overtaken:
            raise UserError(
                "the champion has changed since: run `python -m flows.promote` to compare anew"
            ) from None

    def _carry_out(self, made: Decision, before: Decision | None = None) -> Decision:
        """Write a decision down, and do what it says; return it.

        Args:
            made: the decision.
            before: the one that it replaces; a model that waited since then is forgotten.
        """
        workspace = self.workspace
        crowned = made.verdict in ("promote", "first")
        kept = self._kept(made.challenger)
        if (crowned or made.verdict == "hold") and not kept.exists():
            kept = bentos.keep(workspace.bento)
        made.write(workspace.decision)
        # before the commit, which then holds the lock of a page that tells this decision
        self._report()
        if crowned:
            name = self.champions.promote(made, kept, self.say)
            self.say(f"{name} is the champion")
        else:
            self.champions.record(made, self.say, held=made.verdict == "hold")
        if made.verdict == "reject":
            self._forget(made)
        if before is not None and before.verdict == "hold" and before.challenger != made.challenger:
            self._forget(before)
        return made

    def _champion(self) -> str | None:
        """The version of the champion's Bento; None if there is none."""
        file = bentos.champion(self.workspace.champion)
        if file is None:
            return None
        if not file.exists():
            raise UserError(
                f"{self.workspace.champion} names {file.name}, which is gone: bring one back with "
                "`python -m flows.promote --rollback`"
            )
        return bentos.version(file)

    def _basis(self, challenger: str, champion: str | None) -> str:
        """MD5 over all that a decision depends on, but for latencies."""
        limits = self.params.promotion.model_dump_json()
        parts = [challenger, champion or "", limits]
        clips = (self.workspace.split, self.workspace.folds, self.workspace.catalog)
        parts += [files.md5(path) for path in clips if path.exists()]
        return hashlib.md5("\n".join(parts).encode(), usedforsecurity=False).hexdigest()

    def _report(self) -> None:
        """Have the page of the run tell the decision."""
        pipeline = self.workspace.root / "dvc.yaml"
        if not pipeline.exists() or "report" not in read_yaml(pipeline).get("stages", {}):
            return
        try:
            # --single-item: what comes before may be out of date, and is no concern of this
            dvc.repro(self.say, self.workspace, ("--single-item", "report"))
        except dvc.StageFailed as failure:
            self.say(f"{self.workspace.page} does not tell the decision: {failure}")

    def _kept(self, version: str | None) -> Path:
        """The copy of a Bento that stays while it is champion, was champion, or may be."""
        return self.workspace.dist / f"kinoflow-{version}.bento"

    def _forget(self, made: Decision) -> None:
        """Delete the copy of a model that waited, unless it was champion at some time."""
        if made.challenger not in {each.version for each in self.champions.entries()}:
            self._kept(made.challenger).unlink(missing_ok=True)


def _over(made: Decision) -> bool:
    """Whether the time that a person had has run out."""
    if made.until is None:
        return False
    until = datetime.strptime(made.until, TIME).replace(tzinfo=UTC)
    return datetime.now(UTC) >= until


def history(entries: list[Crowning]) -> str:
    """Who was champion when, and why, as text for a terminal; the present one first."""
    lines = []
    for each in reversed(entries):
        named = each.name if each.version in (each.name, None) else f"{each.name} ({each.version})"
        lines += [f"{each.when}  {printable(named)}", f"    {printable(each.why)}"]
    return "\n".join(lines) or "nothing was promoted yet"
